/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_table.h
 *		The table of pools: lookup by name, membership and eviction.
 */
#ifndef CPM_POOL_TABLE_H
#define CPM_POOL_TABLE_H

#include "base/histogram.h"
#include "base/pool.h"
#include "datatype/timestamp.h"
#include "storage/lwlock.h"

/* A session's reference to its pool; invalid once an eviction has changed the generation. */
typedef struct CpmPoolRef
{
	int			index;
	uint32		generation;
} CpmPoolRef;

extern Size cpm_pools_size(void);
extern Size cpm_pool_names_size(void);	/* of a separate hash table */
extern void cpm_pools_attach(void *memory, bool is_new);

/*
 * The lock that guards lookup, eviction and reset. A statement whose session stays in its pool
 * never takes it.
 */
#define CPM_POOLS_LOCK "connpool_monitor pools"
extern LWLock *cpm_pools_lock(void);

/* Return the number of slots; indexes run from 0 to that number, exclusive. */
extern int	cpm_pool_slots(void);

/*
 * Acquire the lock, exclusively if the pool is new, and return the pool with the name, creating it
 * if necessary, or "(other)" if no slot can be freed. Records that a session of the role with this
 * OID enters the pool. The caller releases the lock; until then no session can evict the pool. Do
 * not call inside a transfer, because the holder of the lock may be waiting for transfers to end.
 * Raises no error.
 */
extern CpmPoolRef cpm_pool_lock_and_find(const CpmPoolName *name, Oid role);

/*
 * Make the calling session a member of the pool, which protects the pool from eviction until the
 * session leaves. Call inside a transfer; takes no lock. Returns false if another session has
 * evicted the pool, which cannot happen while the caller holds the lock.
 */
extern bool cpm_pool_enter(CpmPoolRef ref);

/* End the calling session's membership. Call inside a transfer; takes no lock. */
extern void cpm_pool_leave(int index);

/*
 * Add counters from before the server started, creating the pool if necessary, and return its
 * index. The postmaster only, at startup.
 */
extern int	cpm_pool_load(const CpmPool *pool, const CpmHistogram *histogram);

/* Add the evictions from before the server started. The postmaster only, at startup. */
extern void cpm_pools_load_evicted(uint64 evicted);

/*
 * Return the time, by the monotonic clock, at which a session last left the pool; 0 for never. A
 * new pool begins with the time of the previous occupant of its slot. Takes no lock.
 */
extern uint64 cpm_pool_last_left_us(int index);

/*
 * Return the generation of the slot, which changes when the slot is reused, so that callers can
 * discard data about its previous occupant; *connections is the number of connections now.
 * Returns false if the slot is free. Any process; takes no lock.
 */
extern bool cpm_pool_generation(int index, uint32 *generation, uint32 *connections);

/*
 * Copy the pool's counters since the server started, plus those loaded at startup, but without
 * buckets and without the counts that open sessions have not added yet. Returns false if the slot
 * is free. Any process; takes no lock.
 */
extern bool cpm_pool_copy(int index, CpmPool *pool);

/*
 * Copy the pool's statement counts only, and return the number of sessions opened; zeros if the
 * slot is free.
 */
extern uint64 cpm_pool_counts(int index, uint32 *generation, CpmQueryCounts *counts);

/* Reset peaks of connections to the current number, and peaks of busy sessions to zero. */
extern void cpm_pools_reset_peaks(void);

/*
 * Copy the name of a pool; returns false if the slot is free. If another pool takes the slot
 * meanwhile, the name may be that of the other pool, or parts of both. Any process; takes no lock.
 */
extern bool cpm_pool_name(int index, CpmPoolName *name);

/* Return CpmPool.role_oid of a pool. Any process; takes no lock. */
extern Oid	cpm_pool_role(int index);

/*
 * Return the number of pools, not counting "(other)". The second function returns the number of
 * evictions into "(other)", plus the number of lookups that ended there because no slot could be
 * freed. Any process; 0 if the library is not preloaded.
 */
extern int	cpm_pools_used(void);
extern uint64 cpm_pools_evicted(void);

#endif							/* CPM_POOL_TABLE_H */
