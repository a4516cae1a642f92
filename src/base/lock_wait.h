/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_wait.h
 *		A process that waits for a heavyweight lock, and for whom: a value that
 *		store/ finds and judge/ follows.
 */
#ifndef CPM_LOCK_WAIT_H
#define CPM_LOCK_WAIT_H

#include "datatype/timestamp.h"
#include "storage/lock.h"

typedef struct CpmLockWait
{
	int			pid;
	TimestampTz since;
	LOCKTAG		lock;			/* what it waits for */
	LOCKMODE	mode;			/* the mode it waits for */
	int			blocker_count;
	int		   *blockers;		/* pids, ascending, once each; 0 a prepared transaction */
} CpmLockWait;

#endif							/* CPM_LOCK_WAIT_H */
