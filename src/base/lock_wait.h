/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_wait.h
 *		A process that waits for a heavyweight lock, and the processes that block it.
 *
 * A plain value: live/lock_waits fills it, rules/lock_chains follows the chain of blockers.
 */
#ifndef CPM_LOCK_WAIT_H
#define CPM_LOCK_WAIT_H

#include "datatype/timestamp.h"
#include "storage/lock.h"

typedef struct CpmLockWait
{
	int			pid;
	TimestampTz since;
	LOCKTAG		lock;
	LOCKMODE	mode;			/* requested, not yet granted */
	int			blocker_count;
	int		   *blockers;		/* distinct pids in ascending order; 0: a prepared transaction */
} CpmLockWait;

#endif							/* CPM_LOCK_WAIT_H */
