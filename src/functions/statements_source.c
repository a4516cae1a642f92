/* SPDX-License-Identifier: PostgreSQL */
/*
 * statements_source.c
 *		Reads pg_stat_statements, wherever it is, if it is.
 *
 * Nothing of ours depends on its objects, so it can be updated and dropped; its
 * function is found at each call. It is called directly, as the current user, so
 * it redacts for that user. SQL was rejected: it would need USAGE on the schema, and
 * it fails where a text of another database cannot be converted.
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

/* It is loaded if its settings are its own and not kept for it by the server. */
bool
cpm_statements_are_loaded(void)
{
	return GetConfigOption("pg_stat_statements.max", true, false) != NULL &&
		(GetConfigOptionFlags("pg_stat_statements.max", true) & GUC_CUSTOM_PLACEHOLDER) == 0;
}

void
cpm_statements_require_loaded(const char *what)
{
	if (!cpm_statements_are_loaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs pg_stat_statements to be preloaded", what),
				 errhint("Add pg_stat_statements to shared_preload_libraries and restart the server.")));
}

/* The function pg_stat_statements(showtext boolean) of the extension, in whatever schema. */
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
 * Call pg_stat_statements(). It converts each text to the database encoding; a text that cannot
 * be converted fails the whole call and leaks its buffer. With SQL_ASCII as the database
 * encoding it returns the bytes unconverted, so set that for the duration of the call. Error
 * messages are unaffected: they are ASCII, or are sent after the encoding has been restored.
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

/* Copy the result out of the memory that ends with the executor state. */
static void
copy_rows(const ReturnSetInfo *result, CpmStatements *statements)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsMinimalTuple);
	uint64		room = 1024;

	statements->description = CreateTupleDescCopy(result->setDesc);
	statements->count = 0;
	statements->row = palloc(room * sizeof(HeapTuple));
	while (tuplestore_gettupleslot(result->setResult, true, false, slot))
	{
		if (statements->count == room)
		{
			room *= 2;
			statements->row = repalloc(statements->row, room * sizeof(HeapTuple));
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
