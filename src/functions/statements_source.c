/* SPDX-License-Identifier: PostgreSQL */
/*
 * statements_source.c
 *		Reads pg_stat_statements, in whatever schema it is installed.
 *
 * No view or function of this extension depends on those of pg_stat_statements, so that users can
 * update pg_stat_statements or move it to another schema. Each read therefore looks up the
 * function pg_stat_statements() again and calls it directly. That function hides the texts that
 * the current user may not see. Reading the view through SQL was rejected, because it requires
 * USAGE on the schema and fails if the text of another database cannot be converted.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "functions/statements_source.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

bool
cpm_statements_are_loaded(void)
{
	/* without the library, the setting does not exist, or a user has made it up with SET */
	return GetConfigOption("pg_stat_statements.max", true, false) != NULL &&
		(GetConfigOptionFlags("pg_stat_statements.max", true) & GUC_CUSTOM_PLACEHOLDER) == 0;
}

void
cpm_statements_require_loaded(const char *object)
{
	if (!cpm_statements_are_loaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs pg_stat_statements to be preloaded", object),
				 errhint("Add pg_stat_statements to shared_preload_libraries "
						 "and restart the server.")));
}

/* Return the extension's function pg_stat_statements(showtext boolean); InvalidOid if none. */
static Oid
find_function(void)
{
	Oid			extension = get_extension_oid("pg_stat_statements", true);
	CatCList   *list;
	Oid			found = InvalidOid;

	if (!OidIsValid(extension))
		return InvalidOid;
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum("pg_stat_statements"));
	for (int i = 0; i < list->n_members && !OidIsValid(found); i++)
	{
		Form_pg_proc function = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (function->pronargs == 1 && function->proargtypes.values[0] == BOOLOID &&
			getExtensionOfObject(ProcedureRelationId, function->oid) == extension)
			found = function->oid;
	}
	ReleaseSysCacheList(list);
	return found;
}

/*
 * Call pg_stat_statements(). It converts each text to the database encoding, and one text that
 * cannot be converted makes the whole call fail and leak its buffer. If the database encoding is
 * SQL_ASCII, it returns texts unconverted, so set that encoding during the call. This does not
 * damage error messages: they are ASCII, or are sent after the encoding has been restored.
 */
static void
call_function(Oid function, ReturnSetInfo *result)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	info;
	int			encoding = GetDatabaseEncoding();

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 1, InvalidOid, NULL, (Node *) result);
	fcinfo->args[0].value = BoolGetDatum(true);
	fcinfo->args[0].isnull = false;
	SetDatabaseEncoding(PG_SQL_ASCII);
	PG_TRY();
	{
		(void) FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		SetDatabaseEncoding(encoding);
	}
	PG_END_TRY();
	if (result->returnMode != SFRM_Materialize || result->setResult == NULL)
		elog(ERROR, "connpool_monitor: could not read pg_stat_statements");
}

/* Copy the rows into the current memory context. */
static void
copy_rows(const ReturnSetInfo *result, CpmStatements *statements)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsMinimalTuple);
	uint64		capacity = 1024;

	statements->description = CreateTupleDescCopy(result->setDesc);
	statements->count = 0;
	statements->row = palloc(capacity * sizeof(HeapTuple));
	while (tuplestore_gettupleslot(result->setResult, true, false, slot))
	{
		if (statements->count == capacity)
		{
			capacity *= 2;
			statements->row = repalloc(statements->row, capacity * sizeof(HeapTuple));
		}
		statements->row[statements->count++] = ExecCopySlotHeapTuple(slot);
	}
	ExecDropSingleTupleTableSlot(slot);
}

bool
cpm_statements_read(CpmStatements *statements)
{
	Oid			function = find_function();
	EState	   *estate;
	ReturnSetInfo result = {.type = T_ReturnSetInfo, .allowedModes = SFRM_Materialize};

	if (!OidIsValid(function) || !cpm_may_execute(function))
		return false;
	estate = CreateExecutorState();
	result.econtext = CreateExprContext(estate);
	call_function(function, &result);
	copy_rows(&result, statements);
	/* if the rows did not fit into work_mem, this also removes their temporary file */
	tuplestore_end(result.setResult);
	FreeExecutorState(estate);
	return true;
}

void
cpm_statements_require(CpmStatements *statements)
{
	if (cpm_statements_read(statements))
		return;
	if (OidIsValid(find_function()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, "pg_stat_statements");
	else
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"pg_stat_statements\" does not exist in this database"),
				 errhint("Run CREATE EXTENSION pg_stat_statements.")));
}
