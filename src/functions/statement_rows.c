/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_rows.c
 *		The columns of pg_stat_statements, by name, after cpm_statements_read().
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "executor/spi.h"
#include "functions/statement_rows.h"

/* The column of either name; SPI's "not found" is an error for us only at use. */
static int
column(TupleDesc description, const char *name, const char *old_name)
{
	int			number = SPI_fnumber(description, name);

	if (number == SPI_ERROR_NOATTRIBUTE && old_name)
		number = SPI_fnumber(description, old_name);
	return number > 0 ? number : 0;
}

CpmStatementColumns
cpm_statement_columns(TupleDesc description)
{
	CpmStatementColumns columns = {
		.userid = column(description, "userid", NULL),
		.dbid = column(description, "dbid", NULL),
		.toplevel = column(description, "toplevel", NULL),
		.queryid = column(description, "queryid", NULL),
		.query = column(description, "query", NULL),
		.calls = column(description, "calls", NULL),
		.rows = column(description, "rows", NULL),
		.mean_time = column(description, "mean_exec_time", "mean_time"),
		.total_time = column(description, "total_exec_time", "total_time"),
		.max_time = column(description, "max_exec_time", "max_time"),
		.stddev_time = column(description, "stddev_exec_time", "stddev_time"),
		.blocks_hit = column(description, "shared_blks_hit", NULL),
		.blocks_read = column(description, "shared_blks_read", NULL),
	};

	return columns;
}

static Datum
get(HeapTuple tuple, TupleDesc description, int number, bool *isnull)
{
	*isnull = true;
	return number ? SPI_getbinval(tuple, description, number, isnull) : (Datum) 0;
}

double
cpm_statement_float8(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	return isnull ? NAN : DatumGetFloat8(value);
}

int64
cpm_statement_int8(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

Oid
cpm_statement_oid(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

char *
cpm_statement_text(HeapTuple tuple, TupleDesc description, int number)
{
	return number ? SPI_getvalue(tuple, description, number) : NULL;
}

bool
cpm_statement_is_toplevel(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	return isnull || DatumGetBool(value);
}

void
cpm_row_statement_int8(CpmRow *row, HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get(tuple, description, number, &isnull);

	if (isnull)
		cpm_row_null(row);
	else
		cpm_row_int8(row, DatumGetInt64(value));
}
