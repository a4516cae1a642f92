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
#include "base/stream.h"

/* A session that a sample found busy. */
typedef struct CpmBusySession
{
	int			pool;			/* index of counters/pool_table; -1: in no pool yet */
	CpmWaitClass wait_class;
} CpmBusySession;

/* Each ring has one bucket more than its window, because the newest is unfinished. */
#define CPM_MINUTE_LOAD_BUCKETS 7
#define CPM_HOUR_LOAD_BUCKETS 13

typedef struct CpmLoadBucket
{
	uint32		number;			/* time divided by the length of a bucket; 0: never used */
	uint32		ms[CPM_WAIT_CLASSES];	/* stays at its maximum, which 14,000 busy sessions of one
										 * class reach in five minutes */
} CpmLoadBucket;

/* The load of a pool, in shared memory and in the file. Bucket n of a ring is at n % size. */
typedef struct CpmPoolLoad
{
	CpmLoad		since_reset;
	CpmLoadBucket minute[CPM_MINUTE_LOAD_BUCKETS];	/* of ten seconds */
	CpmLoadBucket hour[CPM_HOUR_LOAD_BUCKETS];	/* of five minutes */
} CpmPoolLoad;

extern Size cpm_pool_load_size(void);
extern void cpm_pool_load_attach(void *memory, bool is_new);

/*
 * Record a sample, taken at now_us of the monotonic clock: add the time since the previous sample
 * to the pool and class of each busy session, and to the time observed. Adds at most two
 * intervals, so that a longer time without samples remains unobserved. Sampler only.
 */
extern void cpm_pool_load_sample(const CpmBusySession *sessions, int count, int64 now_us,
								 int64 interval_ms);

/*
 * Set by_pool[i] to the load of the pool with index i of counters/pool_table, for all
 * cpm_pool_slots() indexes, and return the milliseconds observed in the same window. "(other)"
 * includes the load of evicted pools. The windows cover up to ten seconds more than a minute, and
 * up to five minutes more than an hour. Any process; takes no lock. Waits for 20 ms at most if the
 * sampler was stopped while it recorded a sample; the result may then be inconsistent.
 */
extern uint64 cpm_pool_load_read(CpmStatWindow window, CpmLoad *by_pool);

/* Return a palloc'd copy of the load of all pools, by index; otherwise like the function above. */
extern CpmPoolLoad *cpm_pool_load_copy(void);

/* Add saved load to that of a pool. The postmaster only, at startup, after cpm_load_clock_part. */
extern void cpm_pool_load_restore(int index, const CpmPoolLoad *saved);

/* The part of the statistics file with the load clock and the time observed. */
extern const CpmFilePart cpm_load_clock_part;

/* Discard all load; all windows begin now. Any process; takes no lock. */
extern void cpm_pool_load_reset(void);

#endif							/* CPM_POOL_LOAD_H */
