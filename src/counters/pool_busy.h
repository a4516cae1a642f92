/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_busy.h
 *		For how long how many sessions of each pool were busy: active or in a
 *		transaction; and how often the sampler found each pool in use.
 */
#ifndef CPM_POOL_BUSY_H
#define CPM_POOL_BUSY_H

#include "base/busy.h"

/*
 * How the sampler found a pool, since the pool came or the server started; no reset clears it.
 * A pool is in use at a sample if it has a session, or if one left it since the sample before.
 */
typedef struct CpmPoolUse
{
	uint64		samples;		/* at which it was in use */
	uint64		last_used;		/* number of the last of them, by cpm_pool_busy_samples() */
	uint64		sessions;		/* it had, summed over all samples */
} CpmPoolUse;

extern Size cpm_pool_busy_size(void);
extern void cpm_pool_busy_attach(void *memory, bool is_new);

/*
 * For so long (tenths of a second) as many sessions were busy as it says by index
 * of counters/pool_table; pools without sessions are not observed. The sampler only.
 */
extern void cpm_pool_busy_sample(const uint32 *busy_by_pool, uint32 tenths);

/* What is known of a pool; false for nothing. Any process; no lock. */
extern bool cpm_pool_busy_copy(int index, CpmBusy *busy);

/* Copy how a pool was found; zeros for one that no sample found. Any process; no lock. */
extern CpmPoolUse cpm_pool_busy_use(int index);

/* Return how many samples were taken since the server started. Any process; no lock. */
extern uint64 cpm_pool_busy_samples(void);

/* All begins anew. */
extern void cpm_pool_busy_reset(void);

/* Go on from what is known of a pool. The postmaster only, before anybody else is there. */
extern void cpm_pool_busy_load(int index, const CpmBusy *busy);

#endif							/* CPM_POOL_BUSY_H */
