/* SPDX-License-Identifier: PostgreSQL */
/*
 * blocked.c
 *		connpool_blocked_queries: sessions that wait for a heavyweight lock, and their blockers.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "functions/session_list.h"
#include "live/lock_waits.h"
#include "rules/lock_chains.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(connpool_blocked_queries_1_0);

/* Add the session's query, redacted for the caller; NULL if session is NULL. */
static void
add_query(CpmRow *row, const CpmSession *session)
{
	if (session == NULL)
		cpm_row_null(row);
	else
		cpm_row_query(row, cpm_may_see(session->role) ? session->query : CPM_HIDDEN_QUERY,
					  session->database);
}

/*
 * Add root_state and root_wait_event. The state of a prepared transaction, which has root_pid 0,
 * is "prepared". Otherwise both columns are NULL if the root is not a client session (root is
 * NULL) or the caller may not see it.
 */
static void
add_root_state(CpmRow *row, const CpmSession *root, int root_pid)
{
	bool		is_visible = root != NULL && cpm_may_see(root->role);

	if (root_pid == 0)
		cpm_row_text(row, "prepared");
	else if (is_visible)
		cpm_row_state(row, root->state);
	else
		cpm_row_null(row);
	cpm_row_text(row, is_visible ? pgstat_get_wait_event(root->wait_event_info) : NULL);
}

static void
emit_wait(ReturnSetInfo *result, const CpmSessionList *sessions, const CpmSession *session,
		  const CpmLockWait *wait, int root_pid)
{
	CpmRow		row = {0};
	const CpmSession *root = cpm_session_by_pid(sessions, root_pid);

	cpm_row_int4(&row, session->pid);
	cpm_row_database(&row, session->database);
	cpm_row_role(&row, session->role);
	cpm_row_text(&row, session->application_name);
	cpm_row_age(&row, GetCurrentTimestamp(), cpm_may_see(session->role) ? wait->since : 0);
	cpm_row_lock_type(&row, &wait->lock);
	cpm_row_locked_relation(&row, &wait->lock);
	cpm_row_int4_array(&row, wait->blockers, wait->blocker_count);
	cpm_row_int4_if(&row, root_pid != CPM_NO_ROOT_BLOCKER, root_pid);
	add_query(&row, session);
	add_query(&row, root);
	cpm_row_lock_mode(&row, &wait->lock, wait->mode);
	add_root_state(&row, root, root_pid);
	cpm_row_emit(&row, result);
}

/*
 * Columns: pid, database, role, application_name, waiting, lock_type, relation, blocked_by,
 * root_blocker, query, root_query, lock_mode, root_state, root_wait_event.
 */
Datum
connpool_blocked_queries_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmSessionList sessions;
	CpmLockWait *waits;
	int			count;
	int		   *root_pids;

	cpm_require_view(fcinfo, "connpool_blocked_queries");
	result = cpm_rows_begin(fcinfo);
	count = cpm_lock_waits(INT_MAX, &waits);
	root_pids = palloc((count + 1) * sizeof(int));
	cpm_root_blockers(waits, count, root_pids);
	sessions = cpm_session_list();

	for (int i = 0; i < count; i++)
	{
		const CpmSession *session = cpm_session_by_pid(&sessions, waits[i].pid);

		/* skip a waiter that is not a client session, or has ended since the waits were read */
		if (session != NULL)
			emit_wait(result, &sessions, session, &waits[i], root_pids[i]);
	}
	return (Datum) 0;
}
