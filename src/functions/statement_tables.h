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
	int64		writes;			/* rows inserted, updated or deleted since the last reset; -1:
								 * unknown */
} CpmTableNumbers;

/*
 * Return the sums over the tables in a list of RangeVar and their children; each table counts
 * once. Both sums are unknown if one name does not resolve to a table, for example because it is a
 * view, was dropped, or lacks a schema and is ambiguous. Takes no locks. Checks no privileges,
 * because pg_class and the statistics views show these numbers to all roles.
 */
extern CpmTableNumbers cpm_table_numbers(const List *tables);

#endif							/* CPM_STATEMENT_TABLES_H */
