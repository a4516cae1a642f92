/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_wait.h
 *		A process that waits for a heavyweight lock, and the processes that block it.
 *
 * Plain values: live/lock_waits fills CpmLockWait, and rules/lock_chains follows the chain of
 * blockers. live/backends fills CpmProcWait, and live/lock_roots finds the head of its chain.
 */
#ifndef CPM_LOCK_WAIT_H
#define CPM_LOCK_WAIT_H

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"

/*
 * Number of PGPROCs to search for processes that wait for a heavyweight lock. It includes the
 * PGPROCs of auxiliary processes, because the startup process of a standby waits for locks when it
 * replays the exclusive locks of the primary.
 */
#define CPM_WAITING_PROCS (MaxBackends + NUM_AUXILIARY_PROCS)

typedef struct CpmLockWait
{
	int			pid;
	bool		is_client;		/* a client session */
	TimestampTz since;
	LOCKTAG		lock;
	LOCKMODE	mode;			/* requested, not yet granted */
	int			blocker_count;
	int		   *blockers;		/* distinct pids in ascending order; 0: a prepared transaction */
} CpmLockWait;

/* Stands for the pid of a root blocker if the process does not wait, or its root is not known. */
#define CPM_NO_ROOT_BLOCKER (-1)

/* A wait, as the PGPROC of the waiting process records it. */
typedef struct CpmProcWait
{
	int			pid;
	int			proc_number;	/* index of its PGPROC */

	/*
	 * Pid and PGPROC of the parallel leader if the process is a parallel worker, because
	 * PostgreSQL reports leaders as blockers. Otherwise those of the process itself.
	 */
	int			leader_pid;
	int			leader_number;

	bool		is_client;		/* true for the longest wait among a client session and its
								 * parallel workers */
	LOCKMODE	mode;
	uintptr_t	lock;			/* address of the LOCK, to identify it; never dereference it */
	TimestampTz recorded_since; /* as PostgreSQL recorded it; with the pid, identifies the wait */
	TimestampTz since;			/* the same, corrected if the clock was set back */
} CpmProcWait;

#endif							/* CPM_LOCK_WAIT_H */
