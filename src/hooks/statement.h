/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement.h
 *		Counts and times the client's own statements in this session.
 *
 * Process-local. Call these functions only while the session's slot is open. They raise no error
 * and allocate nothing. They take no lock, with one exception: a function that counts a successful
 * statement may take the lock of counters/pool_table to move the session to another pool.
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

/* Flags of an executed statement */
#define CPM_SIMPLE_PROTOCOL (1 << 0)
#define CPM_COMMIT_FOLLOWS (1 << 1) /* its message, or the Sync after it, ends the transaction */
#define CPM_ENDS_TRANSACTION (1 << 2)	/* it is COMMIT, ROLLBACK or PREPARE TRANSACTION */

/* True while cpm_statement_count_failed() runs, which may be called with LWLocks held. */
extern CPM_INTERNAL bool cpm_statement_is_failing;

/* Count a statement that was slow, or whose elapsed time is negative. Rare, so not inline. */
extern CPM_INTERNAL void cpm_statement_count_unusual(int64 elapsed_us, int sqlstate,
													 uint64 queryid, TimestampTz now);

/* Defer an executed statement until its commit has ended. At most one can be deferred. */
extern CPM_INTERNAL void cpm_statement_defer(uint64 queryid, int flags, int64 elapsed_us);

/* Count the deferred statement, if any, as successful, with the time measured so far. */
extern CPM_INTERNAL void cpm_statement_count_deferred(void);

/*
 * Count a statement in the session's pool. sqlstate is 0 for success; elapsed_us is negative if
 * the clock was set back; queryid is 0 if unknown. If application_name has changed, first move
 * the session to its new pool, which may take the lock of counters/pool_table. Do not move it
 * while cpm_statement_count_failed() runs, because the code that raised the error may hold
 * LWLocks.
 */
static pg_attribute_always_inline void
cpm_statement_count(int64 elapsed_us, int sqlstate, uint64 queryid, TimestampTz now)
{
	if (unlikely(!cpm_slot_is_in_its_pool()) && !cpm_statement_is_failing)
		cpm_slot_change_pool();
	if (unlikely(!cpm_statement_settings.track_queries))
		return;
	/* A negative time becomes a large unsigned one, so one comparison finds both rare cases. */
	if (unlikely((uint64) elapsed_us > (uint64) cpm_statement_settings.slow_us))
		cpm_statement_count_unusual(elapsed_us, sqlstate, queryid, now);
	else
		cpm_slot_count_statement((uint64) elapsed_us, sqlstate != 0);
}

/*
 * Return the microseconds since the current statement began, negative if the clock was set back.
 * message_at is the time at which the backend read its message. If an earlier statement of the
 * same message has ended, the current one began at that end.
 */
static inline int64
cpm_statement_elapsed_us(TimestampTz now, TimestampTz message_at)
{
	return now - (message_at == cpm_progress.last_message_at ?
				  cpm_progress.last_end_at : message_at);
}

/*
 * Set busy_since to the beginning of the transaction, unless it is already set. In the extended
 * protocol a transaction begins with Parse or Bind, before the Execute message. In a string of
 * several statements it begins when the previous statement ended. Call while last_message_at and
 * last_end_at are still those of the previous statement.
 */
static pg_attribute_always_inline void
cpm_statement_start_busy_time(TimestampTz message_at)
{
	TimestampTz began_at;

	if (unlikely(cpm_progress.busy_since != 0))
		return;
	began_at = GetCurrentTransactionStartTimestamp();
	cpm_progress.busy_since = Min(message_at, began_at);
	if (unlikely(message_at == cpm_progress.last_message_at))
		cpm_progress.busy_since = cpm_progress.last_end_at;
}

/*
 * Record the end of a statement, or of a part of one, and return its elapsed time, which is
 * negative if the clock was set back. flags are those of an executed statement, above. Reads the
 * clock; a successful statement does not read it anywhere else, unless it waits for a commit.
 */
static pg_attribute_always_inline int64
cpm_statement_record_end(int flags)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz message_at = GetCurrentStatementStartTimestamp();
	int64		elapsed_us = cpm_statement_elapsed_us(now, message_at);

	if (unlikely(cpm_progress.pending & CPM_STATEMENT_DEFERRED))
		cpm_statement_count_deferred();
	cpm_statement_start_busy_time(message_at);
	cpm_progress.last_message_at = message_at;
	cpm_progress.last_end_at = now;
	cpm_progress.last_flags = flags;
	return elapsed_us;
}

/*
 * Count a statement that has just been executed or, with CPM_COMMIT_FOLLOWS, defer it until its
 * commit has ended. earlier_us is the time of earlier Execute messages that fetched a part of its
 * rows; queryid is 0 if unknown.
 */
static pg_attribute_always_inline void
cpm_statement_count_or_defer(uint64 queryid, int flags, int64 earlier_us)
{
	int64		elapsed_us = cpm_statement_record_end(flags) + earlier_us;

	if (likely((flags & CPM_COMMIT_FOLLOWS) == 0))
		cpm_statement_count(elapsed_us, 0, queryid, cpm_progress.last_end_at);
	else
		cpm_statement_defer(queryid, flags, elapsed_us);
}

/* Record the end of a part of a statement, and return that part's elapsed time, at least 0. */
extern int64 cpm_statement_record_part(int flags);

/* Count a statement whose suspended portal will not run again. elapsed_us includes all parts. */
extern void cpm_statement_count_suspended(int64 elapsed_us, uint64 queryid);

/*
 * Count the failed statement, if the error belongs to one. Call when an error has reached the
 * session's main loop or is about to end the session.
 */
extern void cpm_statement_count_failed(int sqlstate, TimestampTz now);

/*
 * If PostgreSQL's deadlock detector reported the error, log and count the deadlock, and record
 * that it ended the session's wait. Call before the statement counts as failed.
 */
extern void cpm_statement_log_deadlock(const ErrorData *error, TimestampTz now);

/* Start timing the commit that ends the deferred statement. Repeated calls have no effect. */
extern void cpm_statement_start_commit_time(void);

/*
 * Count the deferred statement and all suspended portals, and stop timing the commit. Call when
 * the transaction or the session has ended.
 */
extern void cpm_statement_end_transaction(void);

/* Return true if cpm_statement_count_failed() has handled an error of the current message. */
extern bool cpm_statement_failure_was_counted(void);

#endif							/* CPM_STATEMENT_H */
