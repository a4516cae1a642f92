/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_owners.h
 *		Owners of pools: a role in a database, the pools it holds, and its policy.
 */
#ifndef CPM_POOL_OWNERS_H
#define CPM_POOL_OWNERS_H

#include "base/policy.h"
#include "base/pool.h"

/*
 * Return true if the pool has no session, and set *last_used to when one left it last, in any
 * unit that orders them.
 */
typedef bool (*CpmPoolIsUnused) (int pool, uint64 *last_used);

extern Size cpm_pool_owners_size(void);
extern Size cpm_pool_owners_hash_size(void);	/* of the hash table beside it */
extern void cpm_pool_owners_attach(void *memory, bool is_new);

/* A pool comes to this place of counters/pool_table, or goes. The lock of counters/pool_table is held exclusively. */
extern void cpm_pool_owner_add(int pool, const CpmPoolName *name);
extern void cpm_pool_owner_remove(int pool);

/*
 * Return the pool to evict, or -1. Tries owners in descending order of the places they hold and
 * returns the longest unused pool among those examined. Examines a few hundred pools at most,
 * so it can miss an unused one. The caller holds the lock of counters/pool_table exclusively.
 */
extern int	cpm_pool_to_evict(CpmPoolIsUnused is_unused);

/* Return a number that is higher than all before, to order changes of a policy. Any process. */
extern uint64 cpm_policy_sequence(void);

/*
 * Set the policy of the pool's owner, unless it has one of a later sequence. By a session in
 * that pool, or the postmaster at startup with sequence 0. Atomics only.
 */
extern void cpm_pool_set_policy(int pool, const CpmPolicy *policy, uint64 sequence);

/* Copy the policy of the pool's owner; returns false if it has none. Any process; no lock. */
extern bool cpm_pool_policy(int pool, CpmPolicy *policy);

#endif							/* CPM_POOL_OWNERS_H */
