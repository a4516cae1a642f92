/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates_view.h
 *		Counts the statements that should be batched or cached, for connpool_audit().
 */
#ifndef CPM_CANDIDATES_VIEW_H
#define CPM_CANDIDATES_VIEW_H

/*
 * Return the number of rows with high confidence in connpool_batch_candidates, or the number of
 * rows in connpool_cache_candidates, among the statements that the caller may see; *total_ms is
 * their total execution time. Returns -1 if pg_stat_statements is not preloaded, not in this
 * database, or not executable by the caller.
 */
extern int	cpm_count_batch_candidates(double *total_ms);
extern int	cpm_count_cache_candidates(double *total_ms);

#endif							/* CPM_CANDIDATES_VIEW_H */
