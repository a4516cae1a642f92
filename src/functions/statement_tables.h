/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_tables.h
 *		The tables that a statement names, in this database: how large they are, how
 *		often they are written.
 */
#ifndef CPM_STATEMENT_TABLES_H
#define CPM_STATEMENT_TABLES_H

#include "c.h"
#include "nodes/pg_list.h"

typedef struct CpmTableNumbers
{
	double		tuples;			/* by the planner's estimate; -1 unknown */
	int64		writes;			/* rows inserted, updated, deleted; -1 unknown */
} CpmTableNumbers;

/*
 * The sums over a list of RangeVar. A number is unknown when it is for one of
 * them, or when one cannot be told: it is a view, it is gone, or several schemas
 * have a table of its name and the text does not say which. Takes no lock, and
 * asks for no privilege: sizes and counters are nobody's secret.
 */
extern CpmTableNumbers cpm_table_numbers(const List *tables);

#endif							/* CPM_STATEMENT_TABLES_H */
