/* SPDX-License-Identifier: PostgreSQL */
/*
 * query_counts.h
 *		The counters of statements and transactions of a session, a pool or the server.
 *
 * A plain value without locks.
 */
#ifndef CPM_QUERY_COUNTS_H
#define CPM_QUERY_COUNTS_H

#include "c.h"

typedef enum CpmCount
{
	CPM_QUERIES,				/* including failed ones */
	CPM_FAILED_QUERIES,
	CPM_SLOW_QUERIES,			/* longer than slow_statement_time */
	CPM_TRANSACTIONS,			/* top-level: committed, aborted or prepared */
	CPM_QUERY_TIME_US,			/* total duration of statements */
	CPM_BUSY_TIME_US			/* total time within a statement or a transaction */
} CpmCount;

#define CPM_COUNTS (CPM_BUSY_TIME_US + 1)

typedef struct CpmQueryCounts
{
	uint64		of[CPM_COUNTS]; /* by CpmCount */
} CpmQueryCounts;

/* Subtract an earlier snapshot counter by counter; a negative difference becomes zero. */
static inline void
cpm_query_counts_subtract(CpmQueryCounts *counts, const CpmQueryCounts *earlier)
{
	for (int i = 0; i < CPM_COUNTS; i++)
		counts->of[i] -= Min(counts->of[i], earlier->of[i]);
}

#endif							/* CPM_QUERY_COUNTS_H */
