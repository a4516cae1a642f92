/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_statements.h
 *		The last statements that took longer than slow_statement_time.
 */
#ifndef CPM_SLOW_STATEMENTS_H
#define CPM_SLOW_STATEMENTS_H

#include "base/pool.h"
#include "base/ring.h"
#include "datatype/timestamp.h"

typedef struct CpmSlowStatement
{
	TimestampTz finished_at;
	CpmPoolName session;		/* its database, role and application_name in full */
	int64		elapsed_us;
	uint64		queryid;		/* 0: not known */
	int			sqlstate;		/* as MAKE_SQLSTATE packs it; 0 when it succeeded */
} CpmSlowStatement;

extern Size cpm_slow_statements_size(void);
extern void cpm_slow_statements_attach(void *memory, bool is_new);

/* Remember one. Takes no lock, cannot fail. */
extern void cpm_slow_statements_add(const CpmSlowStatement *statement);

/* Visit them, a CpmSlowStatement each, newest first. Any process; no lock. */
extern void cpm_slow_statements_scan(CpmRingVisitor visit, void *arg);

extern void cpm_slow_statements_reset(void);

/* Loading is for the postmaster, before anybody else is there. */
extern void cpm_slow_statements_save(CpmSink *sink);
extern bool cpm_slow_statements_load(CpmSource *source);

#endif							/* CPM_SLOW_STATEMENTS_H */
