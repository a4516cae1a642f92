/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_load.h
 *		The load of each pool: the time that its sessions spent busy, by wait class, in the last
 *		minute, in the last hour and since the reset.
 */
#ifndef CPM_POOL_LOAD_H
#define CPM_POOL_LOAD_H

#include "base/load.h"
#include "base/stat_window.h"

/* A session that a sample found busy. */
typedef struct CpmBusySession
{
	int			pool;			/* index of counters/pool_table; -1: in no pool yet */
	CpmWaitClass wait_class;
} CpmBusySession;

extern Size cpm_pool_load_size(void);
extern void cpm_pool_load_attach(void *memory, bool is_new);

/*
 * Record a sample, taken at now_us of the monotonic clock: add the time since the previous sample
 * to the pool and class of each busy session, and to the time observed. Adds at most two
 * intervals, so that the time without samples remains unobserved. The sampler only.
 */
extern void cpm_pool_load_sample(const CpmBusySession *sessions, int count, int64 now_us,
								 int64 interval_ms);

/*
 * Set by_pool[i] to the load of the pool with index i of counters/pool_table, for all
 * cpm_pool_slots() indexes, and return the milliseconds observed in the same window. What evicted
 * pools had is in "(other)". The windows cover up to ten seconds more than a minute, and up to
 * five minutes more than an hour. Any process; takes no lock. Waits for 20 ms at most if the
 * sampler was stopped while it recorded a sample; the result may then be inconsistent.
 */
extern uint64 cpm_pool_load_read(CpmStatWindow window, CpmLoad *by_pool);

/* Discard all load; all windows begin now. Any process; takes no lock. */
extern void cpm_pool_load_reset(void);

#endif							/* CPM_POOL_LOAD_H */
