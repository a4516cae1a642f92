/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_rates.h
 *		Computes the contribution of each pool to a rate during the last minute.
 *
 * Local to the sampler's process.
 */
#ifndef CPM_POOL_RATES_H
#define CPM_POOL_RATES_H

#include "base/metric.h"

/* Take a snapshot of all pools if one is due. Call at each sample; takes no lock. */
extern void cpm_pool_rates_sample(int64 now_us);

/*
 * Return the unit of the pools' contributions to the metric, such as "connections"; NULL if the
 * metric is not a rate, or if no counter of a pool corresponds to it.
 */
extern const char *cpm_pool_rates_unit(CpmMetricId id);

/*
 * Set by_pool[i] to the contribution of the pool at index i of counters/pool_table to the metric
 * during about the last minute. The caller initializes the array with zeros, because the entry of
 * "(other)" is not set, and no entry is set before cpm_pool_rates_sample() has taken a snapshot.
 * Call only for metrics for which cpm_pool_rates_unit() is not NULL.
 */
extern void cpm_pool_rates_get(CpmMetricId id, int *by_pool, int pools);

#endif							/* CPM_POOL_RATES_H */
