/*
 * slow_queries.c
 *		slow_queries: statements of pg_stat_statements with a high mean time.
 *
 * Columns are taken by name, for they have changed: mean_time became
 * mean_exec_time in 1.8.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "base/settings.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "serve/access.h"
#include "serve/rows.h"
#include "serve/statements_source.h"

PG_FUNCTION_INFO_V1(slow_queries_1_0);

/* Where the columns stand in the result; 0 when that version has none. */
typedef struct Columns
{
	int			userid;
	int			dbid;
	int			queryid;
	int			query;
	int			calls;
	int			rows;
	int			mean_time;
	int			total_time;
	int			max_time;
	int			stddev_time;
} Columns;

/* The column of either name; SPI's "not found" is an error for us only at use. */
static int
column(TupleDesc description, const char *name, const char *old_name)
{
	int			number = SPI_fnumber(description, name);

	if (number == SPI_ERROR_NOATTRIBUTE && old_name)
		number = SPI_fnumber(description, old_name);
	return number > 0 ? number : 0;
}

static Columns
find_columns(TupleDesc description)
{
	Columns		columns = {
		.userid = column(description, "userid", NULL),
		.dbid = column(description, "dbid", NULL),
		.queryid = column(description, "queryid", NULL),
		.query = column(description, "query", NULL),
		.calls = column(description, "calls", NULL),
		.rows = column(description, "rows", NULL),
		.mean_time = column(description, "mean_exec_time", "mean_time"),
		.total_time = column(description, "total_exec_time", "total_time"),
		.max_time = column(description, "max_exec_time", "max_time"),
		.stddev_time = column(description, "stddev_exec_time", "stddev_time"),
	};

	return columns;
}

static Datum
get(HeapTuple tuple, TupleDesc description, int number, bool *isnull)
{
	*isnull = true;
	return number ? SPI_getbinval(tuple, description, number, isnull) : (Datum) 0;
}

static double
get_float8(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	return isnull ? NAN : DatumGetFloat8(value);
}

static void
add_int8(CpmRow *row, HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	if (isnull)
		cpm_row_null(row);
	else
		cpm_row_int8(row, DatumGetInt64(value));
}

static Oid
get_oid(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

static void
emit_statement(ReturnSetInfo *result, HeapTuple tuple, TupleDesc description,
			   const Columns *columns)
{
	CpmRow		row = {0};
	double		mean_time = get_float8(tuple, description, columns->mean_time);

	if (isnan(mean_time) || mean_time <= cpm_slow_query_mean_time_ms)
		return;
	cpm_row_text(&row, columns->query ? SPI_getvalue(tuple, description, columns->query) : NULL);
	cpm_row_float8(&row, mean_time);
	add_int8(&row, tuple, description, columns->calls);
	cpm_row_float8(&row, get_float8(tuple, description, columns->total_time));
	cpm_row_float8(&row, get_float8(tuple, description, columns->max_time));
	cpm_row_float8(&row, get_float8(tuple, description, columns->stddev_time));
	add_int8(&row, tuple, description, columns->rows);
	cpm_row_role(&row, get_oid(tuple, description, columns->userid));
	cpm_row_database(&row, get_oid(tuple, description, columns->dbid));
	add_int8(&row, tuple, description, columns->queryid);
	cpm_row_emit(&row, result);
}

Datum
slow_queries_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	Columns		columns;

	cpm_require_view(fcinfo, "slow_queries");
	if (!cpm_statements_are_loaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("slow_queries needs pg_stat_statements to be preloaded"),
				 errhint("Add pg_stat_statements to shared_preload_libraries and restart the server.")));
	result = cpm_rows_begin(fcinfo);

	SPI_connect();
	if (!cpm_statements_read())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"pg_stat_statements\" does not exist in this database"),
				 errhint("Run CREATE EXTENSION pg_stat_statements.")));
	columns = find_columns(SPI_tuptable->tupdesc);
	for (uint64 i = 0; i < SPI_processed; i++)
		emit_statement(result, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &columns);
	SPI_finish();
	return (Datum) 0;
}
