/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_rates.h
 *		What each pool has done in the last minute, for metrics that are rates.
 */
#ifndef CPM_POOL_RATES_H
#define CPM_POOL_RATES_H

#include "base/metric.h"

/* The sampler, at each sample: remembers now and then what pools had counted. Takes no lock. */
extern void cpm_pool_rates_sample(int64 now_us);

/*
 * What a metric that is a rate is made of; NULL for a metric that is none, or of which
 * nothing is known by pool.
 */
extern const char *cpm_pool_rates_name(CpmMetricId id);

/*
 * Each pool's part in that, of about the last minute, by index of counters/pool_table; not of
 * "(other)", which gets what others had. The sampler only.
 */
extern void cpm_pool_rates_get(CpmMetricId id, int *by_pool, int pools);

#endif							/* CPM_POOL_RATES_H */
