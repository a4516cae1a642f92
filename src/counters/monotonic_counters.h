/* SPDX-License-Identifier: PostgreSQL */
/*
 * monotonic_counters.h
 *		Counters that decrease only at a reset or a restart, for clients that compute rates.
 *
 * If a counter decreases, Prometheus assumes that it restarted at zero, and adds its whole new
 * value to the increase.
 */
#ifndef CPM_MONOTONIC_COUNTERS_H
#define CPM_MONOTONIC_COUNTERS_H

#include "base/load.h"
#include "base/rejection.h"
#include "counters/pool_busy.h"
#include "counters/pool_retained.h"
#include "counters/pool_snapshot.h"
#include "events/deadlocks.h"
#include "events/errors.h"

#define CPM_MAX_POOL_SERIES 20	/* pools with a series; the others share the series "other" */
#define CPM_SERIES_MIN_SAMPLES 30	/* samples that must find a pool in use before it gets a
									 * series */
#define CPM_SERIES_PERIOD_SAMPLES 600	/* minimum number of samples between two replacements */
#define CPM_SERIES_OTHER "other"	/* database, role and application of the shared series */

/*
 * Counters of the whole server. Every field must consist of uint64 counters, because bases are
 * subtracted from the struct as from an array.
 */
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
	uint64		lock_waits;
	uint64		lock_wait_us;
	uint64		deadlocks[CPM_DEADLOCK_DATABASES + 1];	/* by index of events/deadlocks */
	CpmLoad		load;
} CpmMonotonicTotals;

typedef struct CpmMonotonicCounters
{
	CpmMonotonicTotals totals;
	CpmPoolSnapshot pools;		/* since the last reset */

	/* by index of counters/pool_table, pools.slots entries each */
	CpmPoolUse *use;
	bool	   *has_series;		/* the pool has a series */
	uint64	   *queries;		/* statements of the pool */
	uint64	   *series_queries; /* statements since the pool got its series; 0 without one */
	CpmLoad    *load;			/* of the pool since the last reset */
	CpmLoad    *series_load;	/* load since the pool got its series; zeros without one */

	uint64		other_queries;	/* statements that are in no pool's series */
	CpmLoad		other_load;		/* load that is in no pool's series */

	/* the counters of each database, CPM_OTHER_DATABASE first */
	int			databases;
	CpmDatabaseCounters *database;
	int		   *database_of_pool;	/* index of its database, by index of the pool */
} CpmMonotonicCounters;

extern Size cpm_monotonic_size(void);
extern void cpm_monotonic_attach(void *memory, bool is_new);

/*
 * Return all counters as of one moment, palloc'd, and choose the pools that have a series. Any
 * process with a PGPROC. Holds the lock of counters/pool_table exclusively; the time grows with
 * max_pools. If evictions, resets or other reads disturb four reads in a row, reads all pools once
 * more while it holds the lock.
 */
extern CpmMonotonicCounters *cpm_monotonic_read(void);

/* Return true if the name collides with the shared series "other", which includes such a pool. */
extern bool cpm_monotonic_is_other(const CpmPoolName *name);

/*
 * Restart all counters at zero; pools keep their series. The caller holds the lock of
 * counters/pool_table exclusively.
 */
extern void cpm_monotonic_reset(void);

/*
 * Restart all counters at zero after a crash, because the loss of recent counts would decrease
 * them. Postmaster only, after it has loaded all parts of the statistics file.
 */
extern void cpm_monotonic_restart(void);

/*
 * Return true if cpm_monotonic_restart() has set a base above zero. The statistics file does not
 * contain the base, so the postmaster must restart the counters at the next start too.
 */
extern bool cpm_monotonic_was_restarted(void);

#endif							/* CPM_MONOTONIC_COUNTERS_H */
