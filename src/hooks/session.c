/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.c
 *		Notes when the session of this process opens, and how it ends.
 *
 * A session is open once its start-up transaction has committed: the limits of
 * role and database refuse after authentication has succeeded, where a hook for
 * that would already have counted it.
 *
 * Its end is seen by an exit callback. That runs after the one that rolls back
 * what is open (so that the last transaction is counted) and before the one
 * that gives up the PGPROC. It is registered when the client authenticates,
 * where an error could still refuse the connection in good order.
 */
#include "postgres.h"

#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "counters/backend_counters.h"
#include "counters/session_counters.h"
#include "hooks/session.h"
#include "hooks/session_progress.h"
#include "hooks/statement.h"
#include "libpq/auth.h"
#include "live/backends.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

static ClientAuthentication_hook_type previous_authentication;
static bool is_watched;			/* the exit callback is there */
static bool is_trusted;			/* superuser or member of pg_read_all_data */
static bool is_open;
static bool failed_at_exit;		/* looked into once */
static int	fatal_sqlstate;		/* of the error that ends the session; 0: none was seen */
static bool fatal_in_statement;

/* As pg_stat_database counts sessions. */
static CpmSessionEnd
how_it_ends(void)
{
	switch (pgStatSessionEndCause)
	{
		case DISCONNECT_CLIENT_EOF:
			return CPM_SESSION_ABANDONED;
		case DISCONNECT_FATAL:
			return CPM_SESSION_FAILED;
		case DISCONNECT_KILLED:
			return CPM_SESSION_KILLED;
		default:
			return CPM_SESSION_CLOSED;
	}
}

void
cpm_session_note_fatal(int sqlstate)
{
	/* at the exit itself the query string will have been cleared */
	fatal_sqlstate = sqlstate;
	fatal_in_statement = debug_query_string != NULL;
}

/*
 * Did the session end in the middle of a statement? With log_min_messages at
 * PANIC the log hook has not seen how; then the session's last state tells.
 */
static bool
ended_in_statement(void)
{
	if (fatal_sqlstate != 0)
		return fatal_in_statement;
	return pgStatSessionEndCause != DISCONNECT_NORMAL &&
		pgStatSessionEndCause != DISCONNECT_CLIENT_EOF &&
		MyBEEntry != NULL && MyBEEntry->st_state == STATE_RUNNING;
}

void
cpm_session_fail_at_exit(void)
{
	if (failed_at_exit)
		return;
	failed_at_exit = true;
	if (cpm_slot_is_open() && ended_in_statement())
		cpm_statement_failed(fatal_sqlstate ? fatal_sqlstate : ERRCODE_ADMIN_SHUTDOWN,
							 GetCurrentTimestamp());
}

static void
close_session(int code, Datum argument)
{
	TimestampTz now = GetCurrentTimestamp();

	(void) code;
	(void) argument;
	if (!cpm_slot_is_open())
		return;
	cpm_session_fail_at_exit();
	cpm_statement_transaction_ended();
	cpm_slot_change_pool(now);
	cpm_session_ended(Max(now - MyStartTimestamp, 0));
	cpm_progress.level = 1;
	cpm_slot_close(now, how_it_ends());
}

static void
cpm_ClientAuthentication(Port *port, int status)
{
	if (previous_authentication)
		previous_authentication(port, status);
	if (is_watched)
		return;
	on_shmem_exit(close_session, (Datum) 0);
	is_watched = true;
	cpm_progress.unsettled |= CPM_SESSION_OPENS;
}

void
cpm_session_note_committing(void)
{
	cpm_progress.unsettled &= ~CPM_SESSION_OPENS;
	/* a walsender may have no database, and needs no exemption */
	if (MyBackendType == B_BACKEND)
		is_trusted = has_privs_of_role(GetSessionUserId(), ROLE_PG_READ_ALL_DATA);
}

void
cpm_session_note_commit(void)
{
	TimestampTz now;
	CpmPolicy	policy;

	if (is_open)
		return;
	is_open = true;
	if (MyBackendType != B_BACKEND || !is_watched)
		return;
	now = GetCurrentTimestamp();
	cpm_session_opened(Max(now - MyStartTimestamp, 0));
	policy = cpm_settings_policy();
	cpm_backends_publish();
	cpm_slot_open(now, &policy, is_trusted);
	cpm_progress.level = 0;
}

static void
note_policy(void)
{
	CpmPolicy	policy = cpm_settings_policy();

	if (cpm_slot_is_open())
		cpm_slot_set_policy(&policy);
}

void
cpm_session_install(void)
{
	cpm_settings_on_policy_change(note_policy);
	cpm_settings_on_grouping_change(cpm_slot_forget_application);
	previous_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = cpm_ClientAuthentication;
}

bool
cpm_session_is_open(void)
{
	return is_open;
}
