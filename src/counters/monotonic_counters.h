/* SPDX-License-Identifier: PostgreSQL */
/*
 * monotonic_counters.h
 *		Counters that never fall while the server runs, for those who compute rates
 *		from them: Prometheus takes a counter that falls for one that began anew, and
 *		its whole value for an increase.
 */
#ifndef CPM_MONOTONIC_COUNTERS_H
#define CPM_MONOTONIC_COUNTERS_H

#include "base/rejection.h"
#include "base/stream.h"
#include "counters/pool_busy.h"
#include "counters/pool_retained.h"
#include "counters/pool_snapshot.h"
#include "events/errors.h"

#define CPM_MAX_POOL_SERIES 20	/* that are named; the rest is "other" */
#define CPM_SERIES_MIN_SAMPLES 30	/* samples that find a pool in use before it may be named */
#define CPM_SERIES_PERIOD_SAMPLES 600	/* samples between two replacements of named pools, at
										 * least */
#define CPM_SERIES_OTHER "other"	/* database, role and application of that rest */
#define CPM_SERIES_NO_DATABASE "(other)"	/* evicted pools, sessions that are still
											 * authenticating */

/* Of the whole server. */
typedef struct CpmMonotonicTotals
{
	uint64		opened;
	uint64		ended[CPM_SESSION_ENDS];
	uint64		session_time_us;
	uint64		setup_time_us;
	CpmQueryCounts counts;
	CpmHistogram query_times;
	CpmHistogram session_times;
	CpmHistogram setup_times;
	uint64		refused[CPM_REJECTIONS];
	uint64		error[CPM_ERROR_CODES + 1]; /* by index of events/errors */
	uint64		leaks;
} CpmMonotonicTotals;

typedef struct CpmMonotonicCounters
{
	CpmMonotonicTotals totals;
	CpmPoolSnapshot pools;		/* since the last reset */
	CpmPoolUse *use;			/* by index */
	bool	   *is_named;		/* the same */
	uint64	   *queries;		/* the same */
	uint64	   *named_queries;	/* the same: of a pool that is named, since it was */
	uint64		other_queries;	/* of pools that are not named, or before they were */
	int			databases;
	CpmDatabaseCounters *database;
} CpmMonotonicCounters;

extern Size cpm_monotonic_size(void);
extern void cpm_monotonic_attach(void *memory, bool is_new);

/*
 * Read everything at one moment, palloc'd; chooses the pools that are named. Any process with a
 * PGPROC; takes the lock of counters/pool_table for some microseconds.
 */
extern CpmMonotonicCounters *cpm_monotonic_read(void);

/* Is it called as the rest is? Then it is one of that. */
extern bool cpm_monotonic_is_other(const CpmPoolName *name);

/* All counters begin anew; pools that are named stay so. The lock is held exclusively. */
extern void cpm_monotonic_reset(void);

/*
 * Loading is for the postmaster, before anybody else is there. What a crash lost
 * would let counters fall: after one they begin anew, from what was loaded, and
 * so they do at the next start.
 */
extern void cpm_monotonic_save(CpmSink *sink);
extern bool cpm_monotonic_load(CpmSource *source);

extern void cpm_monotonic_restart(void);
extern bool cpm_monotonic_was_restarted(void);

#endif							/* CPM_MONOTONIC_COUNTERS_H */
