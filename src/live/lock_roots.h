/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_roots.h
 *		Finds, at each sample, the root blocker of each process that waits for a heavyweight lock.
 *
 * Only the sampler may call cpm_lock_roots_update(), which it does before its pass over the
 * sessions. The other functions describe the waits as of that call. In other processes they report
 * that no process waits.
 */
#ifndef CPM_LOCK_ROOTS_H
#define CPM_LOCK_ROOTS_H

#include "base/lock_wait.h"
#include "base/session.h"
#include "storage/lock.h"

/*
 * The head of a chain of waits: a process that blocks a wait, directly or indirectly, and does not
 * wait itself. If there are several, the one with the lowest pid.
 */
typedef struct CpmLockRoot
{
	int			pid;			/* 0: a prepared transaction; CPM_NO_ROOT_BLOCKER: all processes
								 * in the chain wait, or it has not been found yet */
	Oid			prepared_database;	/* if pid is 0, otherwise InvalidOid */
	Oid			prepared_owner; /* likewise */
	LOCKTAG		lock;			/* the lock that the wait is for */
} CpmLockRoot;

/*
 * Read all waits, and find their root blockers. Looks up the blockers of a lock only if one of its
 * waiters has waited for at least min_age_us, or blocks, directly or indirectly, another process
 * that has waited that long. Looks up at most 36 locks per call. For each, takes the partition
 * lock of the lock table in shared mode. If no process waits, reads one word of each PGPROC and
 * takes no lock. Keeps memory in proportion to max_connections. Raises an error only if memory
 * runs out.
 */
extern void cpm_lock_roots_update(int64 min_age_us);

/*
 * Return the pid of the session's root blocker: 0 for a prepared transaction, CPM_NO_ROOT_BLOCKER
 * if the session does not wait or its root blocker has not been found. Takes no lock.
 */
extern int	cpm_lock_root(const CpmSession *session);

/* Return the number of waits in the last update. */
extern int	cpm_lock_roots_waits(void);

/* Return the wait at an index from 0. The pointer is valid until the next update. */
extern const CpmProcWait *cpm_lock_roots_wait(int index);

/* Return the pid of the root blocker of the wait at an index, as from cpm_lock_root(). */
extern int	cpm_lock_roots_root(int index);

/*
 * Set *root to the root blocker of the wait at an index, and to the lock that the wait is for. In
 * a deadlock, whose processes all wait, the root is a process that blocks the wait directly.
 * Returns false if the blockers of the lock have not been found; then the pid is
 * CPM_NO_ROOT_BLOCKER and the lock is zero.
 */
extern bool cpm_lock_roots_describe(int index, CpmLockRoot *root);

#endif							/* CPM_LOCK_ROOTS_H */
