/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_chains.h
 *		Finds the heads of chains of lock waits, and counts the sessions behind a process.
 */
#ifndef CPM_LOCK_CHAINS_H
#define CPM_LOCK_CHAINS_H

#include "base/lock_wait.h"

/*
 * Set heads[i] to the head of the chain of waits[i]: the pid of a process that blocks it,
 * directly or indirectly, and does not wait itself. If there are several, the lowest pid; 0 for a
 * prepared transaction; CPM_NO_ROOT_BLOCKER if all processes in the chain wait in a cycle. waits
 * must be ordered by pid; heads must have room for count entries. Pure.
 */
extern void cpm_root_blockers(const CpmLockWait *waits, int count, int *heads);

/* Return the index of the process's wait in an array ordered by pid; -1 if there is none. */
extern int	cpm_find_wait(const CpmLockWait *waits, int count, int pid);

/*
 * Return true if the subject that arg identifies, for example a process, blocks the wait directly.
 */
typedef bool (*CpmWaitsFor) (const CpmLockWait *wait, const void *arg);

/*
 * Return the number of client sessions that the subject blocks, directly or indirectly. Processes
 * other than client sessions do not count, but the sessions behind them do. waits_for determines
 * the waits that the subject blocks directly. waits must be ordered by pid. Pure, except that it
 * allocates memory.
 */
extern int	cpm_count_blocked_sessions(const CpmLockWait *waits, int count,
									   CpmWaitsFor waits_for, const void *arg);

/* A CpmWaitsFor whose subject is a process; arg points to its pid, an int. */
extern bool cpm_waits_for_pid(const CpmLockWait *wait, const void *arg);

#endif							/* CPM_LOCK_CHAINS_H */
