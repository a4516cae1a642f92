/*
 * statement.h
 *		Counts and times the statements of this session.
 */
#ifndef CPM_STATEMENT_H
#define CPM_STATEMENT_H

#include "datatype/timestamp.h"

/* What is to be known of a statement when it has run, taken before its plan may be gone. */
typedef struct CpmStatement
{
	uint64		queryid;		/* 0: not known */
	int64		earlier_us;		/* of parts fetched by earlier messages */
	bool		commit_follows; /* its message goes on to end the transaction */
	bool		ends_transaction;	/* it is a COMMIT, ROLLBACK or PREPARE itself */
	bool		is_simple;		/* simple query protocol */
} CpmStatement;

/*
 * A top-level statement has been executed. It counts at once, or, when a
 * commit follows, with that. All of these are for sessions whose slot is open;
 * they take no lock (but in a change of application_name) and raise nothing.
 */
extern void cpm_statement_executed(const CpmStatement *statement);

/* Part of one has been executed, in so many microseconds, which this returns. */
extern int64 cpm_statement_part_executed(bool is_simple);

/* A statement that ran in parts has ended with its last. */
extern void cpm_statement_ended_in_parts(int64 elapsed_us, uint64 queryid);

/*
 * An error has reached the session's main loop, or is about to end the session.
 * Decides which statement failed, if any did. earlier_us: of a portal that was
 * running again.
 */
extern void cpm_statement_failed(int sqlstate, TimestampTz now, int64 earlier_us, uint64 queryid);

/* The transaction is about to commit, with or without an xid. */
extern void cpm_statement_committing(bool has_xid);

/*
 * The transaction, or the session, has ended: what waited for that counts now.
 * Returns when it ended, as well as is known without reading the clock for what
 * wrote nothing.
 */
extern TimestampTz cpm_statement_transaction_ended(void);

/* Was a failure noted since the last statement that succeeded? Asked once. */
extern bool cpm_statement_take_failure(void);

#endif							/* CPM_STATEMENT_H */
