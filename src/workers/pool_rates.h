/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_rates.h
 *		Computes what each pool contributed to a rate during the last minute.
 *
 * Local to the sampler's process.
 */
#ifndef CPM_POOL_RATES_H
#define CPM_POOL_RATES_H

#include "base/metric.h"

/* Keep a snapshot of all pools if one is due. Call at each sample; takes no lock. */
extern void cpm_pool_rates_sample(int64 now_us);

/*
 * Return what the metric counts, as in "connections"; NULL if it is not a rate, or if no counter
 * of a pool corresponds to it.
 */
extern const char *cpm_pool_rates_unit(CpmMetricId id);

/*
 * Set by_pool[i] to the contribution of the pool at index i of counters/pool_table to the metric
 * during about the last minute. Does not change the entry of "(other)", nor any entry before the
 * first snapshot, so the caller sets them to zero. Call only for metrics for which
 * cpm_pool_rates_unit() is not NULL.
 */
extern void cpm_pool_rates_get(CpmMetricId id, int *by_pool, int pools);

#endif							/* CPM_POOL_RATES_H */
