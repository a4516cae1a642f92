/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_rows.c
 *		Finds the columns of pg_stat_statements by name and reads their values.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "executor/spi.h"
#include "functions/statement_rows.h"

/* Return the number of the column called name or old_name; 0 if there is none. */
static int
column_number(TupleDesc description, const char *name, const char *old_name)
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
		.userid = column_number(description, "userid", NULL),
		.dbid = column_number(description, "dbid", NULL),
		.toplevel = column_number(description, "toplevel", NULL),
		.queryid = column_number(description, "queryid", NULL),
		.query = column_number(description, "query", NULL),
		.calls = column_number(description, "calls", NULL),
		.rows = column_number(description, "rows", NULL),
		.mean_time = column_number(description, "mean_exec_time", "mean_time"),
		.total_time = column_number(description, "total_exec_time", "total_time"),
		.max_time = column_number(description, "max_exec_time", "max_time"),
		.stddev_time = column_number(description, "stddev_exec_time", "stddev_time"),
		.blocks_hit = column_number(description, "shared_blks_hit", NULL),
		.blocks_read = column_number(description, "shared_blks_read", NULL),
	};

	return columns;
}

static Datum
get_value(HeapTuple tuple, TupleDesc description, int number, bool *isnull)
{
	*isnull = true;
	return number ? SPI_getbinval(tuple, description, number, isnull) : (Datum) 0;
}

double
cpm_statement_float8(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get_value(tuple, description, number, &isnull);

	return isnull ? NAN : DatumGetFloat8(value);
}

int64
cpm_statement_int8(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get_value(tuple, description, number, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

Oid
cpm_statement_oid(HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get_value(tuple, description, number, &isnull);

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
	Datum		value = get_value(tuple, description, number, &isnull);

	return isnull || DatumGetBool(value);
}

void
cpm_row_statement_int8(CpmRow *row, HeapTuple tuple, TupleDesc description, int number)
{
	bool		isnull;
	Datum		value = get_value(tuple, description, number, &isnull);

	cpm_row_int8_if(row, !isnull, isnull ? 0 : DatumGetInt64(value));
}
