/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates_view.h
 *		Counts the statements that should be batched or cached, for connpool_audit().
 */
#ifndef CPM_CANDIDATES_VIEW_H
#define CPM_CANDIDATES_VIEW_H

/*
 * Return how many rows the caller would see in a view: the rows of connpool_batch_candidates with
 * high confidence, or all rows of connpool_cache_candidates. Sets *total_ms to the total execution
 * time of their statements. Returns -1 if pg_stat_statements is not preloaded, is not installed in
 * this database, or may not be executed by the caller. Needs a transaction.
 */
extern int	cpm_count_batch_candidates(double *total_ms);
extern int	cpm_count_cache_candidates(double *total_ms);

#endif							/* CPM_CANDIDATES_VIEW_H */
