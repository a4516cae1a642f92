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
 * Process-local; counts go to the own slot (store/slots).
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/settings.h"
#include "collect/portals.h"
#include "collect/statement.h"
#include "store/slots.h"
#include "store/slow_statements.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

/* A statement that has been executed and whose transaction is about to end. */
typedef struct WaitingStatement
{
	bool		is_set;
	bool		ends_transaction;
	uint64		queryid;
	int64		elapsed_us;		/* execution, without the commit */
} WaitingStatement;

static WaitingStatement waiting;
static TimestampTz last_message;	/* that of the statement executed last */
static TimestampTz last_end;	/* when that ended */
static bool last_is_simple;
static TimestampTz commit_from; /* since when the commit is timed; 0: it is not */
static bool failure_noted;		/* of the message that is being handled */
static bool is_failing;			/* an error is being handled right now */

static int64
slow_statement_us(void)
{
	return cpm_slow_statement_time_ms * INT64CONST(1000);
}

static void
remember_slow(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	CpmSlowStatement slow = {
		.finished_at = now,
		.pool = *cpm_slot_pool_name(),
		.elapsed_us = elapsed_us,
		.queryid = queryid,
		.sqlstate = sqlstate,
	};

	cpm_slow_statements_add(&slow);
}

/*
 * Count a statement, in the pool that is in force now. sqlstate is 0 for
 * success. To come into another pool may take a lock, which an error must not:
 * whatever raised it may still hold others.
 */
static void
count(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	bool		is_slow = elapsed_us > slow_statement_us();

	if (likely(!is_failing))
		cpm_slot_follow_application(now);
	if (!cpm_track_queries)
		return;
	elapsed_us = Max(elapsed_us, 0);	/* the clock was set back */
	cpm_slot_count_statement(elapsed_us, sqlstate != 0, is_slow);
	if (unlikely(is_slow))
		remember_slow(elapsed_us, sqlstate, queryid, now);
}

/* What was executed before counts, for another statement or none came after it. */
static void
count_waiting(void)
{
	if (!waiting.is_set)
		return;
	waiting.is_set = false;
	count(waiting.elapsed_us, 0, waiting.queryid, last_end);
}

/* Time since the statement that runs now has begun. */
static int64
elapsed_until(TimestampTz now)
{
	TimestampTz message = GetCurrentStatementStartTimestamp();

	return now - (message == last_message ? last_end : message);
}

int64
cpm_statement_part_executed(bool is_simple)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		elapsed_us = elapsed_until(now);

	count_waiting();
	last_message = GetCurrentStatementStartTimestamp();
	last_end = now;
	last_is_simple = is_simple;
	failure_noted = false;
	return Max(elapsed_us, 0);
}

void
cpm_statement_executed(const CpmStatement *statement)
{
	int64		elapsed_us = cpm_statement_part_executed(statement->is_simple) +
		statement->earlier_us;

	if (!statement->commit_follows)
	{
		count(elapsed_us, 0, statement->queryid, last_end);
		return;
	}
	waiting.is_set = true;
	waiting.ends_transaction = statement->ends_transaction;
	waiting.queryid = statement->queryid;
	waiting.elapsed_us = elapsed_us;
}

void
cpm_statement_ended_in_parts(int64 elapsed_us, uint64 queryid)
{
	count(elapsed_us, 0, queryid, last_end);
}

/* A call by the function-call protocol is no statement. */
static bool
is_fastpath(void)
{
	return MyBEEntry != NULL && MyBEEntry->st_state == STATE_FASTPATH;
}

void
cpm_statement_failed(int sqlstate, TimestampTz now, int64 earlier_us, uint64 queryid)
{
	TimestampTz message = GetCurrentStatementStartTimestamp();
	bool		is_same_message = message == last_message;
	bool		commit_failed = is_same_message && waiting.is_set &&
		(last_is_simple || waiting.ends_transaction);
	bool		sync_failed = is_same_message && !last_is_simple && !commit_failed;
	int64		elapsed_us = elapsed_until(now) + earlier_us;

	failure_noted = true;
	is_failing = true;
	if (commit_failed)
	{
		elapsed_us += waiting.elapsed_us;
		queryid = waiting.queryid;
		waiting.is_set = false;
	}
	count_waiting();
	last_message = message;
	last_end = now;
	if (!sync_failed && !is_fastpath())
		count(elapsed_us, sqlstate, queryid, now);
	is_failing = false;
}

bool
cpm_statement_take_failure(void)
{
	bool		was_noted = failure_noted;

	failure_noted = false;
	return was_noted;
}

void
cpm_statement_committing(bool has_xid)
{
	if (!has_xid || !waiting.is_set)
		commit_from = 0;
	else if (debug_query_string != NULL)
		commit_from = last_end; /* still within the statement's own message */
	else
		commit_from = GetCurrentTimestamp();
}

TimestampTz
cpm_statement_transaction_ended(void)
{
	while (cpm_partials > 0)
	{
		CpmPartial	partial = cpm_partial_take(NULL);

		cpm_statement_ended_in_parts(partial.elapsed_us, partial.queryid);
	}
	if (waiting.is_set && commit_from != 0)
	{
		last_end = GetCurrentTimestamp();
		waiting.elapsed_us += Max(last_end - commit_from, 0);
	}
	commit_from = 0;
	count_waiting();
	return last_end;
}
