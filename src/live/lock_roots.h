/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_roots.h
 *		Finds the root blocker of each process that waits for a heavyweight lock, at each sample.
 *
 * Local to the sampler, the only process that may call these functions. Call
 * cpm_lock_roots_update() before the pass over the sessions; the others describe the waits as of
 * that call. In a process that never called it, nobody waits.
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
	Oid			prepared_database;	/* if pid is 0; InvalidOid if pid is not 0 */
	Oid			prepared_owner;
	LOCKTAG		lock;			/* for which the process waits */
} CpmLockRoot;

/*
 * Read all waits, and find their root blockers. Looks up the blockers of a lock only if a process
 * has waited for it for at least min_age_us, or waits for it and blocks such a process, and at
 * each call for at most 36 locks. For each of these, takes its partition lock of the lock table in
 * shared mode. If nobody waits, reads one word of each PGPROC and takes no lock. Keeps memory in proportion to max_connections. Raises an error only if memory
 * runs out.
 */
extern void cpm_lock_roots_update(int64 min_age_us);

/*
 * Return the pid of the session's root blocker: 0 for a prepared transaction, CPM_NO_ROOT_BLOCKER
 * if the session does not wait or its root is not known. Takes no lock.
 */
extern int	cpm_lock_root(const CpmSession *session);

/* Return the number of client sessions whose root blocker has that pid. Takes no lock. */
extern int	cpm_lock_root_blocks(int root_pid);

/* Return the number of waits, and a wait by its index, until the next update. */
extern int	cpm_lock_roots_waits(void);
extern const CpmProcWait *cpm_lock_roots_wait(int index);

/*
 * Set the root blocker of a wait and the lock that it waits for. In a deadlock, whose processes
 * all wait, the root is a process that blocks the wait directly. Returns false if the blockers of
 * the lock have not been found; then the pid is CPM_NO_ROOT_BLOCKER and the lock is zero.
 */
extern bool cpm_lock_roots_describe(int index, CpmLockRoot *root);

#endif							/* CPM_LOCK_ROOTS_H */
