/* SPDX-License-Identifier: PostgreSQL */
/*
 * wait_class.h
 *		Classifies the activity of a busy session: it computes, waits, or is idle in a
 *		transaction.
 *
 * Pure functions over values that PostgreSQL reports; no locks.
 */
#ifndef CPM_WAIT_CLASS_H
#define CPM_WAIT_CLASS_H

#include "base/session.h"

typedef enum CpmWaitClass
{
	CPM_WAIT_CPU,				/* active without a wait event */
	CPM_WAIT_LOCK,				/* for a heavyweight lock */
	CPM_WAIT_LWLOCK,
	CPM_WAIT_IO,
	CPM_WAIT_CLIENT,			/* active, and waits to read from or write to its client */
	CPM_WAIT_IPC,				/* for another process of the server */
	CPM_WAIT_TIMEOUT,			/* sleeps, for instance in pg_sleep() */
	CPM_WAIT_OTHER,
	CPM_WAIT_IDLE_IN_TRANSACTION
} CpmWaitClass;

#define CPM_WAIT_CLASSES (CPM_WAIT_IDLE_IN_TRANSACTION + 1)

/* Return the name of the class in views, JSON and metrics, such as "lwlock". */
extern const char *cpm_wait_class_name(CpmWaitClass wait_class);

/* Return true if a session in this state is busy, that is, active or in a transaction. */
extern bool cpm_is_busy_state(CpmState state);

/* Return the class of a session in a busy state that reports this wait event, 0 for none. */
extern CpmWaitClass cpm_wait_class(CpmState state, uint32 wait_event_info);

#endif							/* CPM_WAIT_CLASS_H */
