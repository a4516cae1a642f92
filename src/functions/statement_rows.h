/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_rows.h
 *		Finds the columns of pg_stat_statements by name and reads their values.
 *
 * The columns depend on the version of pg_stat_statements: 1.8 renamed mean_time to
 * mean_exec_time, 1.9 added toplevel. A column that the version lacks reads as NULL.
 */
#ifndef CPM_STATEMENT_ROWS_H
#define CPM_STATEMENT_ROWS_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "functions/rows.h"

/* The number of each column in the result; 0 if the version does not have it. */
typedef struct CpmStatementColumns
{
	int			userid;
	int			dbid;
	int			toplevel;
	int			queryid;
	int			query;
	int			calls;
	int			rows;
	int			mean_time;
	int			total_time;
	int			max_time;
	int			stddev_time;
	int			blocks_hit;
	int			blocks_read;
} CpmStatementColumns;

/* Find the columns by name in the description that cpm_statements_read() returns. */
extern CpmStatementColumns cpm_statement_columns(TupleDesc description);

/* Return the value of a column. SQL's NULL becomes NaN, 0, InvalidOid or a null pointer. */
extern double cpm_statement_float8(HeapTuple tuple, TupleDesc description, int number);
extern int64 cpm_statement_int8(HeapTuple tuple, TupleDesc description, int number);
extern Oid	cpm_statement_oid(HeapTuple tuple, TupleDesc description, int number);
extern char *cpm_statement_text(HeapTuple tuple, TupleDesc description, int number);

/*
 * Return false if the statement ran inside a function. Returns true if a client sent it, or if the
 * version of pg_stat_statements does not record the difference.
 */
extern bool cpm_statement_is_toplevel(HeapTuple tuple, TupleDesc description, int number);

/* Add the value of a bigint column, or NULL, to the row. */
extern void cpm_row_statement_int8(CpmRow *row, HeapTuple tuple, TupleDesc description,
								   int number);

#endif							/* CPM_STATEMENT_ROWS_H */
