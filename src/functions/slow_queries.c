/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_queries.c
 *		slow_queries: statements of pg_stat_statements with a high mean time.
 */
#include "postgres.h"

#include <math.h>

#include "base/settings.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "functions/statement_rows.h"
#include "functions/statements_source.h"

PG_FUNCTION_INFO_V1(slow_queries_1_0);

static void
emit_statement(ReturnSetInfo *result, HeapTuple tuple, TupleDesc description,
			   const CpmStatementColumns *columns)
{
	CpmRow		row = {0};
	double		mean_time = cpm_statement_float8(tuple, description, columns->mean_time);
	char	   *query;

	if (isnan(mean_time) || mean_time <= cpm_slow_query_mean_time_ms)
		return;
	query = cpm_statement_text(tuple, description, columns->query);
	cpm_row_query(&row, query, cpm_statement_oid(tuple, description, columns->dbid));
	if (query != NULL)
		pfree(query);
	cpm_row_float8(&row, mean_time);
	cpm_row_statement_int8(&row, tuple, description, columns->calls);
	cpm_row_float8(&row, cpm_statement_float8(tuple, description, columns->total_time));
	cpm_row_float8(&row, cpm_statement_float8(tuple, description, columns->max_time));
	cpm_row_float8(&row, cpm_statement_float8(tuple, description, columns->stddev_time));
	cpm_row_statement_int8(&row, tuple, description, columns->rows);
	cpm_row_role(&row, cpm_statement_oid(tuple, description, columns->userid));
	cpm_row_database(&row, cpm_statement_oid(tuple, description, columns->dbid));
	cpm_row_statement_int8(&row, tuple, description, columns->queryid);
	cpm_row_emit(&row, result);
}

/*
 * Columns: query, mean_time, calls, total_time, max_time, stddev_time, rows, role, database,
 * queryid.
 */
Datum
slow_queries_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmStatements statements;
	CpmStatementColumns columns;

	cpm_require_view(fcinfo, "slow_queries");
	cpm_statements_require_loaded("slow_queries");
	result = cpm_rows_begin(fcinfo);

	cpm_statements_require(&statements);
	columns = cpm_statement_columns(statements.description);
	for (uint64 i = 0; i < statements.count; i++)
		emit_statement(result, statements.row[i], statements.description, &columns);
	return (Datum) 0;
}
