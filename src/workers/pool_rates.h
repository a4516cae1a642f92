/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_rates.h
 *		What each pool contributed to a rate during the last minute.
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
 * Set by_pool[i] to what the pool at index i of counters/pool_table added to the metric during
 * about the last minute. Leaves "(other)" and, before the first snapshot, all entries as they are.
 * Call only for metrics that have a unit.
 */
extern void cpm_pool_rates_get(CpmMetricId id, int *by_pool, int pools);

#endif							/* CPM_POOL_RATES_H */
