/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.c
 *		The names of the states of a client session.
 */
#include "postgres.h"

#include "base/session.h"

const char *
cpm_state_name(CpmState state)
{
	switch (state)
	{
		case CPM_STATE_DISABLED:
			return "disabled";
		case CPM_STATE_STARTING:
			return "starting";
		case CPM_STATE_IDLE:
			return "idle";
		case CPM_STATE_ACTIVE:
			return "active";
		case CPM_STATE_FASTPATH:
			return "fastpath function call";
		case CPM_STATE_IDLE_IN_TRANSACTION:
			return "idle in transaction";
		case CPM_STATE_IDLE_IN_TRANSACTION_ABORTED:
			return "idle in transaction (aborted)";
		case CPM_STATE_UNKNOWN:
			break;
	}
	return NULL;
}
