/* SPDX-License-Identifier: PostgreSQL */
/*
 * pools.h
 *		The pools that are known, and what sessions have added to each.
 */
#ifndef CPM_POOLS_H
#define CPM_POOLS_H

#include "base/pool.h"
#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#define CPM_OTHER_POOL 0		/* the index of "(other)", into which pools are folded */

/* A pool as a session remembers it; a folded one has another generation. */
typedef struct CpmPoolRef
{
	int			index;
	uint32		generation;
} CpmPoolRef;

extern Size cpm_pools_size(void);
extern Size cpm_pools_names_size(void);	/* of the hash table beside it */
extern void cpm_pools_attach(void *memory, bool is_new);

/*
 * The lock under which pools are looked up, folded and reset; a statement that
 * stays in its pool never takes it.
 */
#define CPM_POOLS_LOCK "connpool_monitor pools"
extern LWLock *cpm_pools_lock(void);

/* Places in the table: indexes run from 0 to this, exclusive. */
extern int	cpm_pools_places(void);

/*
 * Take the lock, shared or (for a new pool) exclusive, and find the pool of that
 * name; when there is no place for it, that is "(other)". The caller releases
 * the lock, until when the pool cannot be folded. Not within a move: who holds
 * the lock may be waiting for moves to be done. Raises nothing.
 */
extern CpmPoolRef cpm_pool_lock_and_find(const CpmPoolName *name);

/*
 * Make the calling session one of the pool's, which cannot be folded until it
 * leaves. Within a move; takes no lock. False when the pool is gone, which it
 * is not while the lock is held.
 */
extern bool cpm_pool_enter(CpmPoolRef ref);

extern void cpm_pool_leave(int index, TimestampTz now);

/* Add to a pool that the calling session is in. Atomics only. */
extern void cpm_pool_add(int index, CpmCount count, uint64 amount);
extern void cpm_pool_add_bucket(int index, int bucket, uint64 amount);
extern void cpm_pool_add_opened(int index, uint64 setup_time_us, TimestampTz now);
extern void cpm_pool_add_ended(int index, CpmSessionEnd how, uint64 session_time_us);

/* A session that is in the pool has used a feature so often. Atomics only. */
extern void cpm_pool_add_feature(int index, CpmFeature feature, uint64 uses, TimestampTz now);

/*
 * Add what was counted of the pool before the server started, and make it one of
 * the known; its index. The postmaster only, before anybody else is there.
 */
extern int	cpm_pool_load(const CpmPool *pool);
extern void cpm_pools_load_folded(uint64 folded);

/* The sampler only: so many of the pool's sessions are busy. */
extern void cpm_pool_note_busy(int index, uint32 busy);

/* When a session last opened in the pool; 0 never. Any process; no lock. */
extern TimestampTz cpm_pool_last_opened(int index);

/*
 * Which of those that have been at that place it is: what is known of another one
 * does not belong to it. *connections is how many it has now. False for a place
 * that holds none. Any process; no lock.
 */
extern bool cpm_pool_generation(int index, uint32 *generation, uint32 *connections);

/*
 * Copy what a pool has been given since the server started; false for a place
 * that holds none. What its sessions have not added yet is not in it.
 */
extern bool cpm_pool_copy(int index, CpmPool *pool);

/* Only its counts, and how many sessions have opened in it, which is returned; zeros for no pool. */
extern uint64 cpm_pool_counts(int index, uint32 *generation, CpmQueryCounts *counts);

/* The same of the last reset, to be subtracted; false without one. To set it, hold the lock exclusively. */
extern bool cpm_pool_copy_baseline(int index, CpmPool *baseline);
extern void cpm_pool_set_baseline(int index, const CpmPool *baseline);

/* Peaks start anew, with the connections that there are. */
extern void cpm_pools_reset_peaks(void);

/* The name of a pool; false when there is none at that index. Any process; no lock. */
extern bool cpm_pool_name(int index, CpmPoolName *name);

/* Pools in use, "(other)" not among them; and how often one was folded into it. */
extern int	cpm_pools_used(void);
extern uint64 cpm_pools_folded(void);

#endif							/* CPM_POOLS_H */
