/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates_view.h
 *		How many statements should be batched or cached, for the audit.
 */
#ifndef CPM_CANDIDATES_VIEW_H
#define CPM_CANDIDATES_VIEW_H

/*
 * How many rows of connpool_batch_candidates have high confidence, how many
 * rows connpool_cache_candidates has, and the milliseconds that they have taken;
 * of what the caller may see. -1 when pg_stat_statements is not loaded or not in
 * this database.
 */
extern int	cpm_count_batch_candidates(double *total_ms);
extern int	cpm_count_cache_candidates(double *total_ms);

#endif							/* CPM_CANDIDATES_VIEW_H */
