/* SPDX-License-Identifier: PostgreSQL */
/*
 * wait_class.c
 *		Classifies the activity of a busy session: it computes, waits, or is idle in a
 *		transaction.
 */
#include "postgres.h"

#include "base/wait_class.h"
#include "utils/wait_event.h"

/* The byte of wait_event_info that holds PostgreSQL's own class of wait events */
#define EVENT_CLASS_MASK 0xFF000000U

static const char *const names[CPM_WAIT_CLASSES] = {
	[CPM_WAIT_CPU] = "cpu",
	[CPM_WAIT_LOCK] = "lock",
	[CPM_WAIT_LWLOCK] = "lwlock",
	[CPM_WAIT_IO] = "io",
	[CPM_WAIT_CLIENT] = "client",
	[CPM_WAIT_IPC] = "ipc",
	[CPM_WAIT_TIMEOUT] = "timeout",
	[CPM_WAIT_OTHER] = "other",
	[CPM_WAIT_IDLE_IN_TRANSACTION] = "idle_in_transaction",
};

const char *
cpm_wait_class_name(CpmWaitClass wait_class)
{
	return names[wait_class];
}

bool
cpm_is_busy_state(CpmState state)
{
	return state == CPM_STATE_ACTIVE || state == CPM_STATE_FASTPATH ||
		state == CPM_STATE_IDLE_IN_TRANSACTION || state == CPM_STATE_IDLE_IN_TRANSACTION_ABORTED;
}

CpmWaitClass
cpm_wait_class(CpmState state, uint32 wait_event_info)
{
	if (state == CPM_STATE_IDLE_IN_TRANSACTION || state == CPM_STATE_IDLE_IN_TRANSACTION_ABORTED)
		return CPM_WAIT_IDLE_IN_TRANSACTION;
	if (wait_event_info == 0)
		return CPM_WAIT_CPU;
	switch (wait_event_info & EVENT_CLASS_MASK)
	{
		case PG_WAIT_LOCK:
			return CPM_WAIT_LOCK;
		case PG_WAIT_LWLOCK:
			return CPM_WAIT_LWLOCK;
		case PG_WAIT_IO:
			return CPM_WAIT_IO;
		case PG_WAIT_CLIENT:
			return CPM_WAIT_CLIENT;
		case PG_WAIT_IPC:
			return CPM_WAIT_IPC;
		case PG_WAIT_TIMEOUT:
			return CPM_WAIT_TIMEOUT;
		default:
			return CPM_WAIT_OTHER;	/* buffer pins, extensions, activity of workers */
	}
}
