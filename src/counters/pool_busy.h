/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_busy.h
 *		For each pool, the distribution over time of its number of busy sessions (active
 *		or in a transaction), and the number of samples that found it in use.
 */
#ifndef CPM_POOL_BUSY_H
#define CPM_POOL_BUSY_H

#include "base/busy.h"

/*
 * How often the sampler found a pool in use, since the pool was created or the server started.
 * Resets do not clear it. A pool is in use at a sample if it has a session, or if a session has
 * left it since the previous sample.
 */
typedef struct CpmPoolUse
{
	uint64		samples;		/* number of samples that found the pool in use */
	uint64		last_used;		/* the last such sample, numbered as by cpm_pool_busy_samples() */
	uint64		sessions;		/* the pool's sessions, summed over all samples */
} CpmPoolUse;

extern Size cpm_pool_busy_size(void);
extern void cpm_pool_busy_attach(void *memory, bool is_new);

/*
 * Record a sample: busy_by_pool[i] sessions of the pool with index i of counters/pool_table were
 * busy for the given tenths of a second. A pool without sessions adds nothing to its distribution,
 * but is in use if a session has left it since the previous sample. The sampler only.
 */
extern void cpm_pool_busy_sample(const uint32 *busy_by_pool, uint32 tenths);

/*
 * Copy the distribution of busy sessions since the last reset; returns false if the pool has not
 * been observed since then, in which case *busy is undefined. Any process; takes no lock.
 */
extern bool cpm_pool_busy_copy(int index, CpmBusy *busy);

/* Return how often samples found the pool in use; zeros for never. Any process; no lock. */
extern CpmPoolUse cpm_pool_busy_use(int index);

/* Return the number of samples since the server started. Any process; takes no lock. */
extern uint64 cpm_pool_busy_samples(void);

/* Discard the distributions of all pools. Any process; takes no lock. */
extern void cpm_pool_busy_reset(void);

/* Set a pool's distribution to a saved one. The postmaster only, at startup. */
extern void cpm_pool_busy_load(int index, const CpmBusy *busy);

#endif							/* CPM_POOL_BUSY_H */
