/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_owners.h
 *		The pools that each role holds, and the choice of a pool to evict.
 */
#ifndef CPM_POOL_OWNERS_H
#define CPM_POOL_OWNERS_H

#include "base/pool.h"

/*
 * Return true if the pool has no session, and set *last_used to the time at which a session last
 * left it. Only the order of these times matters, not their unit.
 */
typedef bool (*CpmPoolIsUnused) (int pool, uint64 *last_used);

extern Size cpm_pool_owners_size(void);
extern Size cpm_pool_owners_hash_size(void);	/* of a separate hash table */
extern void cpm_pool_owners_attach(void *memory, bool is_new);

/*
 * Record that a pool now occupies, or no longer occupies, a slot of counters/pool_table. The
 * caller holds the lock of counters/pool_table exclusively.
 */
extern void cpm_pool_owner_add(int pool, const CpmPoolName *name);
extern void cpm_pool_owner_remove(int pool);

/*
 * Return the pool to evict, or -1. Begins with all owners that hold the largest number of pools,
 * continues with those that hold the next smaller number, and so on. Returns the longest unused
 * pool of the first such group that has an unused one. Examines a few hundred pools at most, so it
 * can miss an unused one. The caller holds the lock of counters/pool_table exclusively.
 */
extern int	cpm_pool_to_evict(CpmPoolIsUnused is_unused);

#endif							/* CPM_POOL_OWNERS_H */
