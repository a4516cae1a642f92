/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_policies.h
 *		The policies of pools: limits that administrators set on roles and databases.
 */
#ifndef CPM_POOL_POLICIES_H
#define CPM_POOL_POLICIES_H

#include "base/policy.h"
#include "base/pool.h"

extern Size cpm_pool_policies_size(void);
extern Size cpm_pool_policies_hash_size(void);	/* of a separate hash table */
extern void cpm_pool_policies_attach(void *memory, bool is_new);

/*
 * Record that a pool now occupies, or no longer occupies, a slot of counters/pool_table. The
 * caller holds the lock of counters/pool_table exclusively.
 */
extern void cpm_pool_policy_add_pool(int pool, const CpmPoolName *name);
extern void cpm_pool_policy_remove_pool(int pool);

/* Return a number that orders changes of policies, higher at each call. Any process; no lock. */
extern uint64 cpm_policy_sequence(void);

/*
 * Set the policy of the pool's role in its database, unless the current policy has a higher
 * sequence. If two sessions set policies concurrently, readers may see limits of both. Call only
 * from a session in that pool, or from the postmaster at startup with sequence 0. Takes no lock.
 */
extern void cpm_pool_set_policy(int pool, const CpmPolicy *policy, uint64 sequence);

/* Copy the pool's policy; returns false if it has none. Any process; takes no lock. */
extern bool cpm_pool_policy(int pool, CpmPolicy *policy);

#endif							/* CPM_POOL_POLICIES_H */
