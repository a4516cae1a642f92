/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement.c
 *		Counts and times the statements of this session.
 *
 * The start of a statement is the moment its message was read, which PostgreSQL
 * notes anyway (GetCurrentStatementStartTimestamp()); in a string of several
 * it is the end of the one before. So a statement reads the clock once, at its
 * end.
 *
 * Its commit belongs to it. When the message that executed it goes on to end
 * the transaction, the statement waits here until that has happened: as the
 * commit may fail, and a histogram must not take back what it has shown. A
 * commit that wrote is timed to its end; from the Sync that brought it, or,
 * when no client came in between, from the end of execution.
 *
 * An error comes without saying what it belongs to. It is told by the message:
 * one that came with the message of the last statement executed is of a commit
 * (the statement that waits has failed with it, unless it was Sync's commit,
 * which is no statement's) or of the next statement in the same string.
 *
 * Process-local; counts go to the own slot (counters/backend_counters).
 */
#include "postgres.h"

#include "access/xact.h"
#include "counters/backend_counters.h"
#include "events/slow_statements.h"
#include "hooks/session_progress.h"
#include "hooks/statement.h"
#include "hooks/suspended_portals.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

bool		cpm_statement_is_failing;

/* The statement that waits, executed and about to be committed. */
static uint64 waiting_queryid;
static int64 waiting_us;		/* without the commit */
static bool waiting_ends_transaction;

static TimestampTz commit_from; /* since when the commit is timed; 0: it is not */
static TimestampTz failed_message;	/* the last that failed */

static void
remember_slow(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	CpmSlowStatement slow = {
		.finished_at = now,
		.session = cpm_slot_session_name(),
		.elapsed_us = elapsed_us,
		.queryid = queryid,
		.sqlstate = sqlstate,
	};

	cpm_slow_statements_add(&slow);
}

/* A slow statement; or the clock was set back during it, and it took no time. */
void
cpm_statement_count_unusual(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	cpm_slot_count_statement((uint64) Max(elapsed_us, 0), sqlstate != 0);
	if (elapsed_us < 0)
		return;
	cpm_slot_count(CPM_SLOW_QUERIES, 1);
	remember_slow(elapsed_us, sqlstate, queryid, now);
}

void
cpm_statement_count_deferred(void)
{
	if ((cpm_progress.unsettled & CPM_STATEMENT_DEFERRED) == 0)
		return;
	cpm_progress.unsettled &= ~CPM_STATEMENT_DEFERRED;
	cpm_statement_count(waiting_us, 0, waiting_queryid, cpm_progress.last_end);
}

int64
cpm_statement_part_executed(int flags)
{
	int64		elapsed_us = cpm_statement_note_end(flags);

	return Max(elapsed_us, 0);
}

void
cpm_statement_defer(uint64 queryid, int flags, int64 elapsed_us)
{
	cpm_progress.unsettled |= CPM_STATEMENT_DEFERRED;
	waiting_queryid = queryid;
	waiting_us = Max(elapsed_us, 0);
	waiting_ends_transaction = (flags & CPM_ENDS_TRANSACTION) != 0;
}

void
cpm_statement_ended_in_parts(int64 elapsed_us, uint64 queryid)
{
	cpm_statement_count(elapsed_us, 0, queryid, cpm_progress.last_end);
}

/* A call by the function-call protocol is no statement. */
static bool
is_fastpath(void)
{
	return MyBEEntry != NULL && MyBEEntry->st_state == STATE_FASTPATH;
}

void
cpm_statement_failed(int sqlstate, TimestampTz now)
{
	CpmSuspendedPortal partial = cpm_suspended_portal_take_resumed();
	uint64		queryid = partial.query ? partial.queryid : (uint64) pgstat_get_my_query_id();
	TimestampTz message = GetCurrentStatementStartTimestamp();
	bool		is_same_message = message == cpm_progress.last_message;
	bool		is_simple = (cpm_progress.last_flags & CPM_SIMPLE_PROTOCOL) != 0;
	bool		commit_failed = is_same_message && (cpm_progress.unsettled & CPM_STATEMENT_DEFERRED) != 0 &&
		(is_simple || waiting_ends_transaction);
	bool		sync_failed = is_same_message && !is_simple && !commit_failed;
	int64		elapsed_us = cpm_statement_elapsed_us(now, message) + partial.elapsed_us;

	cpm_progress.finishing = NULL;
	failed_message = message;
	cpm_statement_is_failing = true;
	if (commit_failed)
	{
		elapsed_us += waiting_us;
		queryid = waiting_queryid;
		cpm_progress.unsettled &= ~CPM_STATEMENT_DEFERRED;
	}
	cpm_statement_count_deferred();
	if (IsTransactionState())
		cpm_statement_note_busy(message);
	cpm_progress.last_message = message;
	cpm_progress.last_end = now;
	if (!sync_failed && !is_fastpath())
		cpm_statement_count(elapsed_us, sqlstate, queryid, now);
	cpm_statement_is_failing = false;
}

bool
cpm_statement_failure_noted(void)
{
	return failed_message == GetCurrentStatementStartTimestamp();
}

void
cpm_statement_committing(void)
{
	if (commit_from != 0)
		return;
	/* within the statement's own message, or in a Sync that the client took its time for */
	commit_from = debug_query_string != NULL ? cpm_progress.last_end : GetCurrentTimestamp();
}

void
cpm_statement_transaction_ended(void)
{
	while (cpm_progress.unsettled & CPM_PORTALS_IN_PARTS)
	{
		CpmSuspendedPortal partial = cpm_suspended_portal_take(NULL);

		cpm_statement_ended_in_parts(partial.elapsed_us, partial.queryid);
	}
	if ((cpm_progress.unsettled & CPM_STATEMENT_DEFERRED) != 0 && commit_from != 0)
	{
		cpm_progress.last_end = GetCurrentTimestamp();
		waiting_us += Max(cpm_progress.last_end - commit_from, 0);
	}
	commit_from = 0;
	cpm_statement_count_deferred();
}
