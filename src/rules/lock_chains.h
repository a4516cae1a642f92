/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_chains.h
 *		Who is at the head of a chain of lock waits, and how long its tail is.
 */
#ifndef CPM_LOCK_CHAINS_H
#define CPM_LOCK_CHAINS_H

#include "base/lock_wait.h"

#define CPM_NO_HEAD (-1)

/*
 * For each wait (they are by pid) the head of its chain: the process that blocks
 * it, directly or through others, and waits for nobody itself; of several the
 * lowest pid, 0 for a prepared transaction, CPM_NO_HEAD when all wait in a cycle.
 * heads has room for count. Pure.
 */
extern void cpm_root_blockers(const CpmLockWait *waits, int count, int *heads);

/* Is this wait for the one that is asked about? */
typedef bool (*CpmWaitsFor) (const CpmLockWait *wait, const void *arg);

/*
 * How many waits are for somebody, directly or through others, where waits_for
 * says which are so directly. Pure but for palloc.
 */
extern int	cpm_chain_tail(const CpmLockWait *waits, int count,
						   CpmWaitsFor waits_for, const void *arg);

/* For cpm_chain_tail(): arg is the pid (an int) of a process. */
extern bool cpm_waits_for_pid(const CpmLockWait *wait, const void *arg);

#endif							/* CPM_LOCK_CHAINS_H */
