/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_waits.h
 *		Who waits for a heavyweight lock, and for whom.
 */
#ifndef CPM_LOCK_WAITS_H
#define CPM_LOCK_WAITS_H

#include "base/lock_wait.h"

/*
 * The waits of client sessions, at most "most" of them and those that began
 * first, and of other processes that they lead to, so that chains can be
 * followed. palloc'd, by pid; their number is returned.
 *
 * Takes the locks that pg_blocking_pids() takes (ProcArrayLock and all those of
 * the lock table, shared), two or three times for each wait, and time that grows
 * with the square of a queue's length: for where blocked sessions are to be
 * named, not for every sample, and with a limit where nobody can cancel it. May
 * raise what palloc does.
 */
extern int	cpm_lock_waits(int most, CpmLockWait **waits);

#endif							/* CPM_LOCK_WAITS_H */
