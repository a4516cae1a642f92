/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_statements.h
 *		A log of the latest statements that took longer than slow_statement_time.
 */
#ifndef CPM_SLOW_STATEMENTS_H
#define CPM_SLOW_STATEMENTS_H

#include "base/pool.h"
#include "base/ring.h"
#include "base/stream.h"
#include "datatype/timestamp.h"

typedef struct CpmSlowStatement
{
	TimestampTz finished_at;
	CpmPoolName session;		/* with the session's own application_name, not the pool's */
	int64		elapsed_us;
	uint64		queryid;		/* 0 if unknown */
	Oid			database;		/* its name may belong to another database later */
	Oid			role;			/* session_user at login; likewise */
	int			sqlstate;		/* as packed by MAKE_SQLSTATE; 0 if the statement succeeded */
} CpmSlowStatement;

extern Size cpm_slow_statements_size(void);
extern void cpm_slow_statements_attach(void *memory, bool is_new);

/* Append a statement to the log. Takes no lock and raises no error. */
extern void cpm_slow_statements_add(const CpmSlowStatement *statement);

/* Call visit(CpmSlowStatement, arg) for each log entry, newest first. Any process; no lock. */
extern void cpm_slow_statements_scan(CpmRingVisitor visit, void *arg);

/* Hide all entries added so far from later scans. Takes no lock. */
extern void cpm_slow_statements_reset(void);

/* The log in the statistics file. */
extern const CpmFilePart cpm_slow_statements_part;

#endif							/* CPM_SLOW_STATEMENTS_H */
