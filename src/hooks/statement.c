/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement.c
 *		Counts and times the client's own statements in this session.
 *
 * A statement starts when the backend has read its message (GetCurrentStatementStartTimestamp())
 * or, in a string of several, when the previous statement ended. So this module reads the
 * clock only at the end.
 *
 * A statement includes its commit, if the same message or the next Sync ends the transaction. Its
 * count is deferred until then, because the commit may fail and a histogram cannot be decremented.
 * The time of a commit runs from the end of execution or, if the commit waited for a Sync, from
 * the Sync.
 */
#include "postgres.h"

#include "access/xact.h"
#include "counters/backend_counters.h"
#include "events/deadlocks.h"
#include "events/slow_statements.h"
#include "hooks/session_progress.h"
#include "hooks/statement.h"
#include "hooks/suspended_portals.h"
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

bool		cpm_statement_is_failing;

/* The deferred statement; valid while CPM_STATEMENT_DEFERRED is set. */
static uint64 deferred_queryid;
static int64 deferred_us;		/* its duration so far; increased when its commit ends */
static bool deferred_ends_transaction;

static TimestampTz commit_started_at;	/* 0: no commit is being timed */
static TimestampTz failed_message_at;	/* when the last message with an error was read */

static void
record_slow_statement(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	CpmSlowStatement slow = {
		.finished_at = now,
		.session = cpm_slot_session_name(),
		.elapsed_us = elapsed_us,
		.queryid = queryid,
		.database = MyDatabaseId,
		.role = GetAuthenticatedUserId(),
		.sqlstate = sqlstate,
	};

	cpm_slow_statements_add(&slow);
}

void
cpm_statement_count_unusual(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	/* If the time is negative, the clock was set back and the duration is unknown. */
	cpm_slot_count_statement((uint64) Max(elapsed_us, 0), sqlstate != 0);
	if (elapsed_us < 0)
		return;
	cpm_slot_count(CPM_SLOW_QUERIES, 1);
	record_slow_statement(elapsed_us, sqlstate, queryid, now);
}

void
cpm_statement_count_deferred(void)
{
	if ((cpm_progress.pending & CPM_STATEMENT_DEFERRED) == 0)
		return;
	cpm_progress.pending &= ~CPM_STATEMENT_DEFERRED;
	cpm_statement_count(deferred_us, 0, deferred_queryid, cpm_progress.last_end_at);
}

int64
cpm_statement_record_part(int flags)
{
	int64		elapsed_us = cpm_statement_record_end(flags);

	return Max(elapsed_us, 0);
}

void
cpm_statement_defer(uint64 queryid, int flags, int64 elapsed_us)
{
	cpm_progress.pending |= CPM_STATEMENT_DEFERRED;
	deferred_queryid = queryid;
	deferred_us = Max(elapsed_us, 0);
	deferred_ends_transaction = (flags & CPM_ENDS_TRANSACTION) != 0;
}

void
cpm_statement_count_suspended(int64 elapsed_us, uint64 queryid)
{
	cpm_statement_count(elapsed_us, 0, queryid, cpm_progress.last_end_at);
}

/* Return true during a call by the function-call protocol, which does not count as a statement. */
static bool
is_fastpath(void)
{
	return MyBEEntry != NULL && MyBEEntry->st_state == STATE_FASTPATH;
}

/*
 * Determine which statement an error belongs to, which PostgreSQL does not report:
 * - If the message has executed no statement yet, the error belongs to a new one.
 * - In a simple query, it belongs to the deferred statement, whose commit failed, or, if no
 *   statement is deferred, to the next one of the string.
 * - In the extended protocol, it belongs to a deferred COMMIT or PREPARE TRANSACTION. If neither
 *   is deferred, the commit at Sync failed, and no statement counts as failed.
 */
void
cpm_statement_count_failed(int sqlstate, TimestampTz now)
{
	CpmSuspendedPortal suspended = cpm_suspended_portal_take_resumed();
	uint64		queryid = suspended.query ? suspended.queryid : (uint64) pgstat_get_my_query_id();
	TimestampTz message_at = GetCurrentStatementStartTimestamp();
	bool		is_same_message = message_at == cpm_progress.last_message_at;
	bool		is_simple = (cpm_progress.last_flags & CPM_SIMPLE_PROTOCOL) != 0;
	bool		commit_failed = is_same_message &&
		(cpm_progress.pending & CPM_STATEMENT_DEFERRED) != 0 &&
		(is_simple || deferred_ends_transaction);

	/* Sync does not set the statement timestamp, so it is still that of the last Execute. */
	bool		sync_failed = is_same_message && !is_simple && !commit_failed;
	int64		elapsed_us = cpm_statement_elapsed_us(now, message_at) + suspended.elapsed_us;

	/* any role can raise this SQLSTATE; cpm_statement_log_deadlock() has recorded a deadlock */
	cpm_slot_record_failed_wait(sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ? 0 : sqlstate,
								proc_exit_inprogress);
	cpm_progress.awaiting_finish = NULL;
	failed_message_at = message_at;
	cpm_statement_is_failing = true;
	if (commit_failed)
	{
		elapsed_us += deferred_us;
		queryid = deferred_queryid;
		cpm_progress.pending &= ~CPM_STATEMENT_DEFERRED;
	}
	cpm_statement_count_deferred();
	if (IsTransactionState())
		cpm_statement_start_busy_time(message_at);
	cpm_progress.last_message_at = message_at;
	cpm_progress.last_end_at = now;
	if (!sync_failed && !is_fastpath())
		cpm_statement_count(elapsed_us, sqlstate, queryid, now);
	cpm_statement_is_failing = false;
}

void
cpm_statement_log_deadlock(const ErrorData *error, TimestampTz now)
{
	CpmDeadlock deadlock;
	const char *detail = error->detail;

	/* any role can raise this SQLSTATE, but only PostgreSQL reports errors from that function */
	if (error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED || error->funcname == NULL ||
		strcmp(error->funcname, "DeadLockReport") != 0)
		return;
	cpm_slot_record_failed_wait(error->sqlerrcode, false);
	memset(&deadlock, 0, sizeof(deadlock));
	deadlock.at = now;
	deadlock.pid = MyProcPid;
	deadlock.database = MyDatabaseId;
	deadlock.role = GetAuthenticatedUserId();
	deadlock.queryid = (uint64) pgstat_get_my_query_id();
	strlcpy(deadlock.application_name, MyBEEntry->st_appname, NAMEDATALEN);
	if (detail != NULL)
		strlcpy(deadlock.detail, detail,
				pg_mbcliplen(detail, (int) strlen(detail), CPM_DEADLOCK_DETAIL_SIZE - 1) + 1);
	cpm_deadlocks_add(&deadlock, MyProcPort->database_name);
}

bool
cpm_statement_failure_was_counted(void)
{
	return failed_message_at == GetCurrentStatementStartTimestamp();
}

void
cpm_statement_start_commit_time(void)
{
	if (commit_started_at != 0)
		return;
	/* Without a query string this is a Sync, and the client may have been idle before it. */
	commit_started_at = debug_query_string != NULL ?
		cpm_progress.last_end_at : GetCurrentTimestamp();
}

void
cpm_statement_end_transaction(void)
{
	while (cpm_progress.pending & CPM_PORTALS_SUSPENDED)
	{
		CpmSuspendedPortal suspended = cpm_suspended_portal_take(NULL);

		cpm_statement_count_suspended(suspended.elapsed_us, suspended.queryid);
	}
	if ((cpm_progress.pending & CPM_STATEMENT_DEFERRED) != 0 && commit_started_at != 0)
	{
		cpm_progress.last_end_at = GetCurrentTimestamp();
		deferred_us += Max(cpm_progress.last_end_at - commit_started_at, 0);
	}
	commit_started_at = 0;
	cpm_statement_count_deferred();
}
