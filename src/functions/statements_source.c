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
 *
 * A text may have up to 1 GB, and a view may show it in thousands of rows. So only the beginning of
 * a long text is kept.
 */
#include "postgres.h"

#include <sys/stat.h>

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
#include "functions/foreign_text.h"
#include "functions/statement_rows.h"
#include "functions/statements_source.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

/* Maximum length of a text in bytes, in the encoding of the statement's database */
#define MAX_TEXT_LENGTH 65536

/* The file of pg_stat_statements' texts; from this size on, one text may be too long for a row */
#define TEXT_FILE PG_STAT_TMP_DIR "/pgss_query_texts.stat"
#define MAX_TEXT_FILE_SIZE (MaxAllocSize - 1024 * 1024)

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
 * Return false if the texts must not be read. If one of them is too long for a row, the call fails
 * and leaks its buffer, which holds the whole file.
 */
static bool
texts_are_readable(void)
{
	struct stat file;

	return stat(TEXT_FILE, &file) != 0 || file.st_size < (off_t) MAX_TEXT_FILE_SIZE;
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
	fcinfo->args[0].value = BoolGetDatum(texts_are_readable());
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

/* Return a palloc'd copy of the beginning of a long text. Does not split a character. */
static text *
cut_text(Datum query, Oid database)
{
	const char *start = VARDATA_ANY(DatumGetPointer(query));
	int			length = VARSIZE_ANY_EXHDR(DatumGetPointer(query));

	length = pg_encoding_mbcliplen(cpm_database_encoding(database), start, length,
								   MAX_TEXT_LENGTH);
	return cstring_to_text_with_len(start, length);
}

/* Copy a row into the current memory context, with its text cut if it is too long. */
static HeapTuple
copy_row(TupleTableSlot *slot, const CpmStatementColumns *columns)
{
	Datum	   *query = &slot->tts_values[columns->query - 1];
	text	   *cut = NULL;
	HeapTuple	row;

	slot_getallattrs(slot);
	if (!slot->tts_isnull[columns->query - 1] &&
		VARSIZE_ANY_EXHDR(DatumGetPointer(*query)) > MAX_TEXT_LENGTH)
	{
		cut = cut_text(*query, DatumGetObjectId(slot->tts_values[columns->dbid - 1]));
		*query = PointerGetDatum(cut);
	}
	row = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	if (cut != NULL)
		pfree(cut);
	return row;
}

/* Copy the rows into the current memory context. */
static void
copy_rows(const ReturnSetInfo *result, CpmStatements *statements)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsMinimalTuple);
	CpmStatementColumns columns = cpm_statement_columns(result->setDesc);
	uint64		capacity = 1024;

	if (columns.query == 0 || columns.dbid == 0)
		elog(ERROR, "connpool_monitor: pg_stat_statements lacks a column");
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
		statements->row[statements->count++] = copy_row(slot, &columns);
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

bool
cpm_statement_text_is_cut(const char *query)
{
	return strlen(query) > MAX_TEXT_LENGTH - MAX_MULTIBYTE_CHAR_LEN;
}
