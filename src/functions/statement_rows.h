/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_rows.h
 *		The columns of pg_stat_statements, by name, after cpm_statements_read().
 *
 * They have changed: mean_time became mean_exec_time in 1.8, toplevel came with
 * 1.9. What a version does not have is NULL.
 */
#ifndef CPM_STATEMENT_ROWS_H
#define CPM_STATEMENT_ROWS_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "functions/rows.h"

/* Where the columns stand in the result; 0 when that version has none. */
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

/* The value in a column: NaN, 0, InvalidOid, NULL for one that is NULL. */
extern double cpm_statement_float8(HeapTuple tuple, TupleDesc description, int number);
extern int64 cpm_statement_int8(HeapTuple tuple, TupleDesc description, int number);
extern Oid	cpm_statement_oid(HeapTuple tuple, TupleDesc description, int number);
extern char *cpm_statement_text(HeapTuple tuple, TupleDesc description, int number);

/* Was it a client's own, not one inside a function? Yes where that is not told. */
extern bool cpm_statement_is_toplevel(HeapTuple tuple, TupleDesc description, int number);

/* Add it to a row, NULL as NULL. */
extern void cpm_row_statement_int8(CpmRow *row, HeapTuple tuple, TupleDesc description,
								   int number);

#endif							/* CPM_STATEMENT_ROWS_H */
