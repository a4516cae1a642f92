/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_waits.h
 *		Lists the processes that wait for heavyweight locks, and their blockers.
 */
#ifndef CPM_LOCK_WAITS_H
#define CPM_LOCK_WAITS_H

#include "base/lock_wait.h"

/*
 * Set *waits to a palloc'd array of waits, ordered by pid, and return their number. The array has
 * the waits of client sessions, limited to the max_waits that began first, and the waits of
 * their blockers, so that callers can follow chains.
 *
 * Takes locks in shared mode. For each wait, it takes ProcArrayLock together with all partition
 * locks of the lock table twice, and ProcArrayLock alone once. For each blocker, it takes
 * ProcArrayLock alone up to two more times. The time grows with the square of a queue's length. So
 * call this only to name blocked sessions, not for every sample, and limit max_waits in processes
 * that nobody can cancel. Raises an error only if it runs out of memory or is cancelled.
 */
extern int	cpm_lock_waits(int max_waits, CpmLockWait **waits);

#endif							/* CPM_LOCK_WAITS_H */
