/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement.h
 *		Counts and times the statements of this session.
 *
 * All of this is for sessions whose slot is open. It takes no lock (but in a
 * change of application_name, outside of errors) and raises nothing.
 */
#ifndef CPM_STATEMENT_H
#define CPM_STATEMENT_H

#include "access/xact.h"
#include "base/attributes.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "datatype/timestamp.h"
#include "hooks/session_progress.h"
#include "utils/timestamp.h"

/* How a statement came and what comes after it; bits. */
#define CPM_SIMPLE_PROTOCOL (1 << 0)
#define CPM_COMMIT_FOLLOWS (1 << 1) /* its message goes on to end the transaction */
#define CPM_ENDS_TRANSACTION (1 << 2)	/* because it says so: COMMIT, ROLLBACK, PREPARE */

/* An error is being handled right now. */
extern CPM_INTERNAL bool cpm_statement_is_failing;

/* What is rare in what follows, and therefore not inline. */
extern CPM_INTERNAL void cpm_statement_count_unusual(int64 elapsed_us, int sqlstate,
													 uint64 queryid, TimestampTz now);
extern CPM_INTERNAL void cpm_statement_defer(uint64 queryid, int flags, int64 elapsed_us);

/* What was executed before, and waits, counts: another statement or none came after it. */
extern CPM_INTERNAL void cpm_statement_count_deferred(void);

/*
 * Count a statement, in the pool that is in force now. sqlstate is 0 for
 * success. To come into another pool may take a lock, which an error must not:
 * whatever raised it may still hold others.
 */
static pg_attribute_always_inline void
cpm_statement_count(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	if (unlikely(!cpm_slot_is_in_its_pool()) && !cpm_statement_is_failing)
		cpm_slot_change_pool(now);
	if (unlikely(!cpm_statement_settings.track_queries))
		return;
	/* a negative time is a large one here: one comparison for both that are rare */
	if (unlikely((uint64) elapsed_us > (uint64) cpm_statement_settings.slow_us))
		cpm_statement_count_unusual(elapsed_us, sqlstate, queryid, now);
	else
		cpm_slot_count_statement((uint64) elapsed_us, sqlstate != 0);
}

/* Time since the statement that runs now has begun; message is when its message was read. */
static inline int64
cpm_statement_elapsed_us(TimestampTz now, TimestampTz message)
{
	return now - (message == cpm_progress.last_message ? cpm_progress.last_end : message);
}

/*
 * The session is busy since its transaction began: over the extended protocol that is with
 * Parse or Bind, in a string of several after the one that ended before. Before last_message
 * and last_end are those of the statement that runs.
 */
static pg_attribute_always_inline void
cpm_statement_note_busy(TimestampTz message)
{
	TimestampTz begun;

	if (unlikely(cpm_progress.busy_from != 0))
		return;
	begun = GetCurrentTransactionStartTimestamp();
	cpm_progress.busy_from = Min(message, begun);
	if (unlikely(message == cpm_progress.last_message))
		cpm_progress.busy_from = cpm_progress.last_end;
}

/* The clock is read here, once. */
static pg_attribute_always_inline int64
cpm_statement_note_end(int flags)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz message = GetCurrentStatementStartTimestamp();
	int64		elapsed_us = cpm_statement_elapsed_us(now, message);

	if (unlikely(cpm_progress.unsettled & CPM_STATEMENT_DEFERRED))
		cpm_statement_count_deferred();
	cpm_statement_note_busy(message);
	cpm_progress.last_message = message;
	cpm_progress.last_end = now;
	cpm_progress.last_flags = flags;
	return elapsed_us;
}

/*
 * A top-level statement has been executed. It counts at once, or, when a commit
 * follows that may fail or take time, with that. earlier_us is the time of
 * parts that earlier messages fetched; queryid 0 is not known. Inline, as every
 * statement comes here.
 */
static pg_attribute_always_inline void
cpm_statement_executed(uint64 queryid, int flags, int64 earlier_us)
{
	int64		elapsed_us = cpm_statement_note_end(flags) + earlier_us;

	if (likely((flags & CPM_COMMIT_FOLLOWS) == 0))
		cpm_statement_count(elapsed_us, 0, queryid, cpm_progress.last_end);
	else
		cpm_statement_defer(queryid, flags, elapsed_us);
}

/* Part of one has been executed, in so many microseconds, which this returns. */
extern int64 cpm_statement_part_executed(int flags);

/* A statement that ran in parts has ended with its last. */
extern void cpm_statement_ended_in_parts(int64 elapsed_us, uint64 queryid);

/*
 * Count the failed statement, if the error belongs to one. Called when an error has reached the
 * session's main loop or is about to end the session.
 */
extern void cpm_statement_failed(int sqlstate, TimestampTz now);

/* The commit for which a statement waits has begun; only the first call counts. */
extern void cpm_statement_committing(void);

/*
 * The transaction, or the session, has ended: what waited for that counts now.
 * Needed only when a statement waits, or was fetched in part.
 */
extern void cpm_statement_transaction_ended(void);

/* Has a failure been noted of the message that is being handled? */
extern bool cpm_statement_failure_noted(void);

#endif							/* CPM_STATEMENT_H */
