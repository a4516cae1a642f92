/*
 * statement.h
 *		Counts and times the statements of this session.
 *
 * All of this is for sessions whose slot is open. It takes no lock (but in a
 * change of application_name, outside of errors) and raises nothing.
 */
#ifndef CPM_STATEMENT_H
#define CPM_STATEMENT_H

#include "base/internal.h"
#include "datatype/timestamp.h"

/* How a statement came and what comes after it; bits. */
#define CPM_SIMPLE_PROTOCOL (1 << 0)
#define CPM_COMMIT_FOLLOWS (1 << 1) /* its message goes on to end the transaction */
#define CPM_ENDS_TRANSACTION (1 << 2)	/* because it says so: COMMIT, ROLLBACK, PREPARE */

/*
 * A top-level statement has been executed. It counts at once, or, when a commit
 * follows that may fail or take time, with that. earlier_us is the time of
 * parts that earlier messages fetched; queryid 0 is not known.
 */
extern CPM_INTERNAL void cpm_statement_executed(uint64 queryid, int flags, int64 earlier_us);

/* Part of one has been executed, in so many microseconds, which this returns. */
extern int64 cpm_statement_part_executed(int flags);

/* A statement that ran in parts has ended with its last. */
extern void cpm_statement_ended_in_parts(int64 elapsed_us, uint64 queryid);

/*
 * An error has reached the session's main loop, or is about to end the session.
 * Decides which statement failed, if any did. earlier_us: of a portal that was
 * running again.
 */
extern void cpm_statement_failed(int sqlstate, TimestampTz now, int64 earlier_us, uint64 queryid);

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
