/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_tables.h
 *		Returns the sizes and write counters of the tables that a statement names.
 */
#ifndef CPM_STATEMENT_TABLES_H
#define CPM_STATEMENT_TABLES_H

#include "c.h"
#include "nodes/pg_list.h"

typedef struct CpmTableNumbers
{
	double		tuples;			/* by the planner's estimate; -1: unknown */
	int64		writes;			/* rows inserted, updated or deleted; -1: unknown */
} CpmTableNumbers;

/*
 * Return the sums over a list of RangeVar, each table with its partitions and children counted
 * once. The sums are unknown if they are unknown for one table, for example because it is a view,
 * has been dropped, or is named without a schema while several schemas have such a table. Takes no
 * locks. Checks no privileges, because pg_class and the statistics views show these numbers to all
 * roles.
 */
extern CpmTableNumbers cpm_table_numbers(const List *tables);

#endif							/* CPM_STATEMENT_TABLES_H */
