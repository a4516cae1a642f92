/* SPDX-License-Identifier: PostgreSQL */
/*
 * exposed.h
 *		Counters that never fall while the server runs, for those who compute rates
 *		from them: Prometheus takes a counter that falls for one that began anew, and
 *		its whole value for an increase.
 */
#ifndef CPM_EXPOSED_H
#define CPM_EXPOSED_H

#include "base/refusal.h"
#include "base/stream.h"
#include "store/errors.h"
#include "store/pool_totals.h"

#define CPM_EXPOSED_POOLS 20	/* that are named; the rest is "other" */
#define CPM_EXPOSED_OTHER "other"	/* database, role and application of that rest */
#define CPM_EXPOSED_NO_DATABASE "(other)"	/* folded pools, sessions that are still authenticating */

/* Of the whole server. */
typedef struct CpmExposedTotals
{
	uint64		opened;
	uint64		ended[CPM_SESSION_ENDS];
	uint64		session_time_us;
	uint64		setup_time_us;
	CpmQueryCounts counts;
	CpmHistogram query_times;
	CpmHistogram session_times;
	CpmHistogram setup_times;
	uint64		refused[CPM_REFUSALS];
	uint64		error[CPM_ERROR_CODES + 1]; /* by index of store/errors */
	uint64		leaks;
} CpmExposedTotals;

/* Of the sessions of a database, folded pools included; empty name: not known any more. */
typedef struct CpmExposedDatabase
{
	char		name[NAMEDATALEN];
	uint64		queries;
	uint64		failed;
} CpmExposedDatabase;

typedef struct CpmExposed
{
	CpmExposedTotals totals;
	CpmPoolList pools;			/* since the last reset */
	bool	   *is_named;		/* by index */
	uint64	   *queries;		/* the same */
	uint64		other_queries;	/* of all that are not named */
	int			databases;
	CpmExposedDatabase *database;
} CpmExposed;

extern Size cpm_exposed_size(void);
extern void cpm_exposed_attach(void *memory, bool is_new);

/*
 * Read everything at one moment, palloc'd; chooses the pools that are named, those
 * with the most statements. Any process with a PGPROC; takes the lock of
 * store/pools for some microseconds.
 */
extern CpmExposed *cpm_exposed_read(void);

/* A pool that is folded now: its name, and what it has counted. The lock is held exclusively. */
extern void cpm_exposed_fold(int index, const CpmPoolName *name, uint64 queries, uint64 failed);

/* A pool that has come. The lock is held exclusively. */
extern void cpm_exposed_pool_came(int index, const CpmPoolName *name);

/* Is it called as the rest is? Then it is one of that. */
extern bool cpm_exposed_is_other(const CpmPoolName *name);

/* All counters begin anew. The lock is held exclusively. */
extern void cpm_exposed_reset(void);

/*
 * Loading is for the postmaster, before anybody else is there. What a crash lost
 * would let counters fall: after one they begin anew, from what was loaded, and
 * so they do at the next start.
 */
extern void cpm_exposed_save(CpmSink *sink);
extern bool cpm_exposed_load(CpmSource *source);
extern bool cpm_exposed_is_named(int index);
extern void cpm_exposed_load_named(int index, bool is_named, uint64 queries);
extern void cpm_exposed_begin_anew(void);
extern bool cpm_exposed_began_anew(void);

#endif							/* CPM_EXPOSED_H */
