/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.c
 *		Records when the session of this process opens and how it ends.
 *
 * The session is open once its start-up transaction has committed. ClientAuthentication_hook would
 * be too early to count it as opened, because PostgreSQL checks the connection limits of the role
 * and the database only after that hook.
 *
 * An on_shmem_exit callback closes the session. It runs after the callback that rolls back an
 * open transaction, so that this transaction counts, and before the callback that releases the
 * PGPROC. ClientAuthentication_hook registers the callback. If registration fails there, the error
 * only rejects the connection.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/set_back.h"
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
static bool exit_callback_registered;	/* true once authentication has succeeded or failed */
static bool is_trusted;			/* superuser, or has the privileges of pg_read_all_data */
static bool is_open;
static int64 started_us;		/* start of the process, by the monotonic clock; set with is_open */
static bool exit_failure_checked;
static int	fatal_sqlstate;		/* of the error that ends the session; 0: none was reported */
static bool fatal_in_statement; /* that error was reported while a statement ran */

/* Return how the session ends, classified as in pg_stat_database. */
static CpmSessionEnd
session_end_cause(void)
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
cpm_session_record_fatal(int sqlstate)
{
	/* Record this now, because proc_exit() clears the query string before it runs callbacks. */
	fatal_sqlstate = sqlstate;
	fatal_in_statement = debug_query_string != NULL;
	if (cpm_slot_is_open())
		cpm_slot_record_failed_wait(sqlstate, true);
}

/*
 * Return true if the session ends in the middle of a statement. If log_min_messages is PANIC,
 * emit_log_hook does not see the FATAL error, so use the state that pg_stat_activity shows.
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
cpm_session_count_exit_failure(void)
{
	if (exit_failure_checked)
		return;
	exit_failure_checked = true;
	if (cpm_slot_is_open() && ended_in_statement())
		cpm_statement_count_failed(fatal_sqlstate ? fatal_sqlstate : ERRCODE_ADMIN_SHUTDOWN,
								   GetCurrentTimestamp());
}

/* Exit callback: count how the session ends, and release its slot. */
static void
close_session(int code, Datum argument)
{
	int64		lasted_us = Max(cpm_monotonic_us() - started_us, 0);

	(void) code;
	(void) argument;
	if (!cpm_slot_is_open())
		return;
	cpm_session_count_exit_failure();
	cpm_statement_end_transaction();
	cpm_slot_change_pool();
	cpm_session_ended(lasted_us);
	cpm_progress.nesting_level = 1;
	cpm_slot_close(lasted_us, session_end_cause());
}

static void
cpm_ClientAuthentication(Port *port, int status)
{
	if (previous_authentication)
		previous_authentication(port, status);
	if (exit_callback_registered)
		return;
	on_shmem_exit(close_session, (Datum) 0);
	exit_callback_registered = true;
	cpm_progress.pending |= CPM_SESSION_OPENING;
}

void
cpm_session_begin_opening(void)
{
	cpm_progress.pending &= ~CPM_SESSION_OPENING;
	/* A walsender may have no database, and needs no privileges because it gets no slot. */
	if (MyBackendType == B_BACKEND)
		is_trusted = has_privs_of_role(GetSessionUserId(), ROLE_PG_READ_ALL_DATA);
}

void
cpm_session_finish_opening(void)
{
	int64		setup_us;
	CpmPolicy	policy;

	if (is_open)
		return;
	is_open = true;
	/* A process that has not registered the exit callback could not release a slot. */
	if (MyBackendType != B_BACKEND || !exit_callback_registered)
		return;
	started_us = cpm_process_started_us(MyStartTimestamp);
	setup_us = cpm_monotonic_us() - started_us;
	cpm_session_opened(setup_us);
	policy = cpm_settings_policy();
	cpm_backends_publish();
	cpm_slot_open(setup_us, &policy, is_trusted);
	cpm_progress.nesting_level = 0;
}

/* Copy the pool policy to the session's slot, because one of its settings has changed. */
static void
publish_policy(void)
{
	CpmPolicy	policy = cpm_settings_policy();

	if (cpm_slot_is_open())
		cpm_slot_set_policy(&policy);
}

void
cpm_session_install(void)
{
	cpm_settings_on_policy_change(publish_policy);
	cpm_settings_on_grouping_change(cpm_slot_recheck_pool);
	previous_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = cpm_ClientAuthentication;
}

bool
cpm_session_is_open(void)
{
	return is_open;
}

bool
cpm_session_was_ready(void)
{
	return MyBEEntry != NULL && MyBEEntry->st_state != STATE_UNDEFINED;
}
