/* SPDX-License-Identifier: PostgreSQL */
/*
 * monotonic_counters.c
 *		Counters that decrease only at a reset or a restart, for clients that compute rates.
 *
 * Up to twenty pools have a series of their own, that is, counters with the pool's labels; the
 * others share the series "other". The eviction of a pool would decrease the counter of its
 * database, and a new series would decrease "other"; the state in counters/pool_retained prevents
 * both. A series begins at zero, because "other" keeps the earlier statements of the pool.
 *
 * Clients choose the names of pools, and each new name would be a new series. So a pool gets a
 * series only after it has been in use for CPM_SERIES_MIN_SAMPLES samples. After the first twenty,
 * at most one pool in CPM_SERIES_PERIOD_SAMPLES samples gets a series. It replaces a pool that was
 * unused for that long, or that was less than half as active.
 *
 * The lock of counters/pool_table guards all state, because evictions hold it. A reset restarts
 * the counters at zero. So does a crash: readers then subtract the counts that were loaded.
 */
#include "postgres.h"

#include "base/histogram.h"
#include "base/load.h"
#include "base/stat_window.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_load.h"
#include "counters/pool_retained.h"
#include "counters/pool_table.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/leak_log.h"
#include "events/lock_log.h"
#include "events/rejections.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_TRIES 3

/*
 * Written under the lock of counters/pool_table, or by the postmaster at startup. Some readers of
 * "reads" and "was_restarted" do not take the lock.
 */
typedef struct MonotonicState
{
	uint64		reads;			/* number of completed reads and resets */
	uint64		replaced_at;	/* the sample at which replace_pool() last began a series */
	uint64		marked_at;		/* the sample at which mark_pools() was last called */
	bool		was_restarted;	/* after a crash, with a base other than zero */
	CpmMonotonicTotals base;	/* loaded after a crash; not part of any counter */
} MonotonicState;

static MonotonicState *shared;

Size
cpm_monotonic_size(void)
{
	return sizeof(MonotonicState);
}

void
cpm_monotonic_attach(void *memory, bool is_new)
{
	shared = memory;
	if (is_new)
		memset(shared, 0, sizeof(*shared));
}

void
cpm_monotonic_reset(void)
{
	CpmPoolName name;

	cpm_retained_reset();
	for (int i = CPM_OTHER_POOL + 1; i < cpm_pool_slots(); i++)
		if (cpm_pool_name(i, &name))
			cpm_retained_add_pool(i, name.database);
	shared->reads++;
	shared->was_restarted = false;
	memset(&shared->base, 0, sizeof(shared->base));
}

static void
sum_lock_waits(CpmMonotonicTotals *totals)
{
	CpmLockWaitCounts counts = cpm_lock_wait_counts();

	totals->lock_waits = counts.waits;
	totals->lock_wait_us = counts.waited_us;
	for (int i = 0; i <= CPM_DEADLOCK_DATABASES; i++)
	{
		char		name[NAMEDATALEN];

		totals->deadlocks[i] = cpm_deadlocks_get(i, name);
	}
}

/* Set the server's totals since the last reset. load has an entry for each slot of the list. */
static void
sum_totals(const CpmPoolSnapshot *list, const CpmLoad *load, CpmMonotonicTotals *totals)
{
	memset(totals, 0, sizeof(*totals));
	for (int i = 0; i < list->slots; i++)
	{
		const CpmPool *pool = &list->pool[i];

		cpm_load_add(&totals->load, &load[i]);
		if (!list->is_used[i])
			continue;
		totals->opened += pool->opened;
		for (int end = 0; end < CPM_SESSION_ENDS; end++)
			totals->ended[end] += pool->ended[end];
		totals->session_time_us += pool->session_time_us;
		totals->setup_time_us += pool->setup_time_us;
		for (int count = 0; count < CPM_COUNTS; count++)
			totals->counts.of[count] += pool->counts.of[count];
	}
	totals->query_times = list->histogram[0];
	cpm_session_histograms(&totals->setup_times, &totals->session_times);
	for (int i = 0; i < CPM_REJECTIONS; i++)
		totals->refused[i] = cpm_rejections_count(i).count;
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
		totals->error[i] = cpm_errors_get(i).errors;
	for (int kind = CPM_NO_LEAK + 1; kind < CPM_LEAK_KINDS; kind++)
		totals->leaks += cpm_leak_counts(kind).detected;
	sum_lock_waits(totals);
}

static void
subtract_base(CpmMonotonicTotals *totals)
{
	uint64	   *counter = (uint64 *) totals;
	const uint64 *base = (const uint64 *) &shared->base;

	StaticAssertStmt(sizeof(CpmMonotonicTotals) % sizeof(uint64) == 0,
					 "totals consist of counters only");
	for (size_t i = 0; i < sizeof(CpmMonotonicTotals) / sizeof(uint64); i++)
		counter[i] -= Min(counter[i], base[i]);
}

static CpmRetainedPool *
pool_at(int index)
{
	return &cpm_retained()->pool[index];
}

/* Return the count less the base, or 0 if that is negative. */
static uint64
excess(uint64 count, uint64 base)
{
	return count - Min(count, base);
}

/*
 * Set size to the activity of each pool since the last mark_pools(): its share of all sessions
 * plus its share of all statements.
 */
static void
measure_pools(const CpmMonotonicCounters *monotonic, double *size)
{
	int			slots = monotonic->pools.slots;
	double		sessions = 0;
	double		queries = 0;

	for (int i = 0; i < slots; i++)
	{
		sessions += (double) excess(monotonic->use[i].sessions, pool_at(i)->marked_sessions);
		queries += (double) excess(monotonic->queries[i], pool_at(i)->marked_queries);
	}
	for (int i = 0; i < slots; i++)
	{
		const CpmRetainedPool *retained = pool_at(i);

		size[i] =
			excess(monotonic->use[i].sessions, retained->marked_sessions) / Max(sessions, 1) +
			excess(monotonic->queries[i], retained->marked_queries) / Max(queries, 1);
	}
}

/* Begin a new comparison of pools at this sample. */
static void
mark_pools(const CpmMonotonicCounters *monotonic, uint64 sample)
{
	for (int i = 0; i < monotonic->pools.slots; i++)
	{
		pool_at(i)->marked_sessions = monotonic->use[i].sessions;
		pool_at(i)->marked_queries = monotonic->queries[i];
	}
	shared->marked_at = sample;
}

/*
 * Return the largest pool that has no series, was in use for long enough and was used lately; -1
 * if there is none.
 */
static int
largest_without_series(const CpmMonotonicCounters *monotonic, const double *size, uint64 sample)
{
	int			found = -1;

	for (int i = CPM_OTHER_POOL + 1; i < monotonic->pools.slots; i++)
		if (monotonic->pools.is_used[i] && !pool_at(i)->has_series &&
			monotonic->use[i].samples >= CPM_SERIES_MIN_SAMPLES &&
			excess(sample, monotonic->use[i].last_used) < CPM_SERIES_PERIOD_SAMPLES &&
			(found < 0 || size[i] > size[found]) &&
			!cpm_monotonic_is_other(&monotonic->pools.pool[i].name))
			found = i;
	return found;
}

/* Return the pool whose series ends in favor of a pool of new_size; -1 if there is none. */
static int
pool_to_replace(const CpmMonotonicCounters *monotonic, const double *size, uint64 sample,
				double new_size)
{
	int			unused = -1;
	int			smallest = -1;

	for (int i = CPM_OTHER_POOL + 1; i < monotonic->pools.slots; i++)
	{
		if (!pool_at(i)->has_series)
			continue;
		if (unused < 0 || monotonic->use[i].last_used < monotonic->use[unused].last_used)
			unused = i;
		if (smallest < 0 || size[i] < size[smallest])
			smallest = i;
	}
	if (excess(sample, monotonic->use[unused].last_used) >= CPM_SERIES_PERIOD_SAMPLES)
		return unused;
	if (excess(sample, shared->marked_at) >= CPM_SERIES_PERIOD_SAMPLES &&
		size[smallest] < new_size / 2)
		return smallest;
	return -1;
}

static void
begin_series(const CpmMonotonicCounters *monotonic, int index)
{
	CpmRetainedPool *retained = pool_at(index);

	retained->has_series = true;
	retained->hidden_queries = monotonic->queries[index];
	cpm_retained()->transferred += retained->hidden_queries;
	retained->hidden_load = monotonic->load[index];
	cpm_load_add(&cpm_retained()->transferred_load, &retained->hidden_load);
}

static void
end_series(int index)
{
	pool_at(index)->has_series = false;
	cpm_retained()->transferred -= pool_at(index)->shown_queries;
	cpm_load_subtract(&cpm_retained()->transferred_load, &pool_at(index)->shown_load);
}

/* Begin one series, if a pool qualifies. If there are twenty already, ends another one. */
static void
replace_pool(const CpmMonotonicCounters *monotonic, const double *size, uint64 sample)
{
	int			new_pool = largest_without_series(monotonic, size, sample);
	int			series = 0;

	if (new_pool < 0)
		return;
	for (int i = 0; i < monotonic->pools.slots; i++)
		series += pool_at(i)->has_series;
	if (series >= CPM_MAX_POOL_SERIES)
	{
		int			old_pool = pool_to_replace(monotonic, size, sample, size[new_pool]);

		if (old_pool < 0)
			return;
		end_series(old_pool);
	}
	begin_series(monotonic, new_pool);
	shared->replaced_at = sample;
}

/* Begin series: the first twenty immediately, and then at most one in each period. */
static void
choose_pools(const CpmMonotonicCounters *monotonic, double *size)
{
	uint64		sample = cpm_pool_busy_samples();
	int			new_pool;

	measure_pools(monotonic, size);
	while (cpm_retained()->immediate_series < CPM_MAX_POOL_SERIES &&
		   (new_pool = largest_without_series(monotonic, size, sample)) >= 0)
	{
		begin_series(monotonic, new_pool);
		cpm_retained()->immediate_series++;
	}
	if (excess(sample, shared->replaced_at) >= CPM_SERIES_PERIOD_SAMPLES)
		replace_pool(monotonic, size, sample);
	if (excess(sample, shared->marked_at) >= CPM_SERIES_PERIOD_SAMPLES)
		mark_pools(monotonic, sample);
}

bool
cpm_monotonic_is_other(const CpmPoolName *name)
{
	return strcmp(name->database, CPM_SERIES_OTHER) == 0 &&
		strcmp(name->role, CPM_SERIES_OTHER) == 0 &&
		strcmp(name->application_name, CPM_SERIES_OTHER) == 0;
}

/*
 * Sum statements by database: those of evicted pools, and those of the pools. CPM_OTHER_DATABASE
 * receives the statements in "(other)" that no other entry includes. The caller holds the lock
 * exclusively.
 */
static void
sum_databases(CpmMonotonicCounters *monotonic)
{
	const CpmPool *pool = monotonic->pools.pool;
	CpmDatabaseCounters *database = monotonic->database;
	CpmDatabaseCounters *other = &database[CPM_OTHER_DATABASE];

	monotonic->databases = cpm_retained()->databases + 1;
	memcpy(database, cpm_retained_databases(cpm_retained()),
		   monotonic->databases * sizeof(CpmDatabaseCounters));
	strlcpy(other->name, CPM_SERIES_NO_DATABASE, NAMEDATALEN);
	other->queries = monotonic->queries[CPM_OTHER_POOL];
	other->failed = excess(pool[CPM_OTHER_POOL].counts.of[CPM_FAILED_QUERIES],
						   pool_at(CPM_OTHER_POOL)->base_failed);
	for (int i = CPM_OTHER_DATABASE + 1; i < monotonic->databases; i++)
	{
		other->queries = excess(other->queries, database[i].queries);
		other->failed = excess(other->failed, database[i].failed);
	}
	for (int i = CPM_OTHER_POOL + 1; i < monotonic->pools.slots; i++)
	{
		const CpmRetainedPool *retained = pool_at(i);

		monotonic->database_of_pool[i] = retained->database;
		if (!monotonic->pools.is_used[i])
			continue;
		database[retained->database].queries += monotonic->queries[i];
		database[retained->database].failed +=
			excess(pool[i].counts.of[CPM_FAILED_QUERIES], retained->base_failed);
	}
}

static CpmLoad
load_excess(const CpmLoad *load, const CpmLoad *base)
{
	CpmLoad		difference;

	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		difference.ms[i] = excess(load->ms[i], base->ms[i]);
	return difference;
}

/* Set the counters of the pools that have a series, and of the series "other". Lock held. */
static void
set_series(CpmMonotonicCounters *monotonic)
{
	monotonic->other_queries = cpm_retained()->transferred;
	monotonic->other_load = cpm_retained()->transferred_load;
	for (int i = 0; i < monotonic->pools.slots; i++)
	{
		CpmRetainedPool *retained = pool_at(i);

		monotonic->has_series[i] = retained->has_series;
		if (!retained->has_series)
		{
			monotonic->other_queries += monotonic->queries[i];
			cpm_load_add(&monotonic->other_load, &monotonic->load[i]);
			continue;
		}
		monotonic->series_queries[i] = excess(monotonic->queries[i], retained->hidden_queries);
		retained->shown_queries = monotonic->queries[i];
		monotonic->series_load[i] = load_excess(&monotonic->load[i], &retained->hidden_load);
		retained->shown_load = monotonic->load[i];
	}
}

/*
 * Complete the counters with the state in counters/pool_retained, and choose the pools that have a
 * series; size has room for the size of each pool. The caller holds the lock, and no pool was
 * evicted since the caller read the pools.
 */
static void
add_retained(CpmMonotonicCounters *monotonic, double *size)
{
	subtract_base(&monotonic->totals);
	for (int i = 0; i < monotonic->pools.slots; i++)
		if (monotonic->pools.is_used[i])
			monotonic->queries[i] = excess(monotonic->pools.pool[i].counts.of[CPM_QUERIES],
										   pool_at(i)->base_queries);
	choose_pools(monotonic, size);
	set_series(monotonic);
	sum_databases(monotonic);
}

/*
 * Set the counters that the lock does not guard. Must not allocate, because cpm_monotonic_read()
 * also calls it while it holds the lock.
 */
static void
read_pools(CpmMonotonicCounters *monotonic, bool nowait)
{
	cpm_pool_snapshot_read(&monotonic->pools, nowait);
	(void) cpm_pool_load_read(CPM_SINCE_RESET, monotonic->load);
	sum_totals(&monotonic->pools, monotonic->load, &monotonic->totals);
	for (int i = 0; i < monotonic->pools.slots; i++)
		monotonic->use[i] = cpm_pool_busy_use(i);
}

/*
 * Read all totals, then acquire the lock. Returns false if an eviction, a reset or another read
 * completed in between; the caller retries.
 *
 * Without these retries, the series "other" could fall. Suppose that our totals contain 8
 * statements of a pool, and that a read that completed in between has reported 10 of them in
 * "other". If we now began a series for the pool, "other" would keep only 8.
 */
static bool
read_and_lock(CpmMonotonicCounters *monotonic)
{
	uint64		evicted = cpm_pools_evicted();
	uint64		reads = shared->reads;

	read_pools(monotonic, false);
	LWLockAcquire(cpm_pools_lock(), LW_EXCLUSIVE);
	return evicted == cpm_pools_evicted() && reads == shared->reads;
}

CpmMonotonicCounters *
cpm_monotonic_read(void)
{
	CpmMonotonicCounters *monotonic = palloc0(sizeof(CpmMonotonicCounters));
	int			slots = cpm_pool_slots();
	double	   *size = palloc(slots * sizeof(double));
	bool		is_consistent;

	monotonic->pools = cpm_pool_snapshot_alloc(CPM_HISTOGRAM_OF_ALL_POOLS);
	monotonic->use = palloc(slots * sizeof(CpmPoolUse));
	monotonic->has_series = palloc0(slots * sizeof(bool));
	monotonic->queries = palloc0(slots * sizeof(uint64));
	monotonic->series_queries = palloc0(slots * sizeof(uint64));
	monotonic->load = palloc(slots * sizeof(CpmLoad));
	monotonic->series_load = palloc0(slots * sizeof(CpmLoad));
	/* there are at most as many databases as pools; both lists also have an entry "(other)" */
	monotonic->database = palloc(slots * sizeof(CpmDatabaseCounters));
	monotonic->database_of_pool = palloc0(slots * sizeof(int));
	is_consistent = read_and_lock(monotonic);
	for (int tries = 0; !is_consistent && tries < MAX_TRIES; tries++)
	{
		LWLockRelease(cpm_pools_lock());
		is_consistent = read_and_lock(monotonic);
	}
	if (!is_consistent)
	{
		/*
		 * Read again while the lock prevents evictions, resets and other reads. This waits up to
		 * 20 ms for a session that lost the CPU while it left a pool, and up to 20 ms for the
		 * sampler to finish a write. Without these waits, a counter could fall.
		 */
		read_pools(monotonic, true);
	}
	add_retained(monotonic, size);
	shared->reads++;
	LWLockRelease(cpm_pools_lock());
	return monotonic;
}

void
cpm_monotonic_restart(void)
{
	CpmPoolSnapshot list = cpm_pool_snapshot(CPM_HISTOGRAM_OF_ALL_POOLS);
	CpmLoad    *load = palloc(list.slots * sizeof(CpmLoad));

	cpm_monotonic_reset();
	(void) cpm_pool_load_read(CPM_SINCE_RESET, load);
	sum_totals(&list, load, &shared->base);
	for (int i = 0; i < list.slots; i++)
	{
		/* exclude the load from before the crash from the series of its pool, or from "other" */
		if (pool_at(i)->has_series)
			pool_at(i)->hidden_load = pool_at(i)->shown_load = load[i];
		else
			cpm_load_subtract(&cpm_retained()->transferred_load, &load[i]);
		if (!list.is_used[i])
			continue;
		pool_at(i)->base_queries = list.pool[i].counts.of[CPM_QUERIES];
		pool_at(i)->base_failed = list.pool[i].counts.of[CPM_FAILED_QUERIES];
	}
	for (size_t i = 0; i < sizeof(shared->base) / sizeof(uint64); i++)
		shared->was_restarted |= ((const uint64 *) &shared->base)[i] != 0;
	pfree(load);
	cpm_pool_snapshot_free(&list);
}

bool
cpm_monotonic_was_restarted(void)
{
	return shared->was_restarted;
}
