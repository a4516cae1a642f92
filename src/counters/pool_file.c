/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_file.c
 *		The parts of the statistics file that hold the pools.
 *
 * The saver writes all pools from one snapshot. It does not write the totals of the server
 * (counters/slot_sums), except the longest statement. When the postmaster loads a pool, it adds
 * the counts of the pool to these totals.
 */
#include "postgres.h"

#include "base/busy.h"
#include "base/histogram.h"
#include "base/pool.h"
#include "base/set_back.h"
#include "base/stream.h"
#include "counters/backend_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_file.h"
#include "counters/pool_load.h"
#include "counters/pool_retained.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "counters/slot_sums.h"
#include "miscadmin.h"
#include "storage/lwlock.h"

typedef struct SavedPool
{
	CpmPool		pool;
	CpmHistogram histogram;		/* of query times */
	CpmBusy		busy;
	CpmPoolLoad load;
	CpmSavedSeries series;
} SavedPool;

/* Counters that belong to no single pool. */
typedef struct SavedTotals
{
	uint64		evicted;		/* cpm_pools_evicted() */
	int64		max_us;			/* cpm_slots_max_us() */
	uint64		transferred;	/* this and the next fields as in CpmRetained */
	CpmLoad		transferred_load;
	uint64		immediate_series;
} SavedTotals;

/*
 * Return a palloc'd copy of the first "size" bytes of the state in counters/pool_retained. Each
 * part of the file makes its own copy, so the parts may disagree. That does no harm: a file that
 * the saver wrote is loaded only after a crash, and cpm_monotonic_restart() then discards all
 * numbers in that state. At shutdown the postmaster saves; it cannot acquire a lock, and needs
 * none.
 */
static CpmRetained *
copy_retained(Size size)
{
	CpmRetained *copy = palloc_extended(size, MCXT_ALLOC_HUGE);

	if (IsUnderPostmaster)
		LWLockAcquire(cpm_pools_lock(), LW_SHARED);
	memcpy(copy, cpm_retained(), size);
	if (IsUnderPostmaster)
		LWLockRelease(cpm_pools_lock());
	return copy;
}

/* Count the open sessions of a snapshot as killed, and add their durations to their pools. */
static void
end_open_sessions(CpmPoolSnapshot *snapshot, TimestampTz now)
{
	CpmSlotSession session;

	for (int i = 0; i < cpm_backend_slots(); i++)
		if (cpm_slot_session(i, &session) && session.pool >= 0 && session.pool < snapshot->slots)
			snapshot->pool[session.pool].session_time_us +=
				Max(now - cpm_corrected_time(i, CPM_TIME_CONNECTED, session.started_at), 0);
	for (int i = 0; i < snapshot->slots; i++)
		if (snapshot->is_used[i])
			snapshot->pool[i].ended[CPM_SESSION_KILLED] += snapshot->pool[i].connections;
}

static void
save_pool(CpmSink *sink, const CpmPoolSnapshot *snapshot, const CpmPoolLoad *load,
		  const CpmRetainedPool *retained, int index)
{
	SavedPool	saved = {
		.pool = snapshot->pool[index],
		.histogram = snapshot->histogram[index],
		.load = *load,
		.series = {
			.has_series = retained->has_series,
			.hidden_queries = retained->hidden_queries,
			.hidden_load = retained->hidden_load,
		},
	};

	if (!cpm_pool_busy_copy(index, &saved.busy))
		memset(&saved.busy, 0, sizeof(saved.busy));
	cpm_put(sink, &saved);
}

static void
save_pools(CpmSink *sink)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_HISTOGRAM_OF_EACH_POOL);
	CpmPoolLoad *load = cpm_pool_load_copy();
	CpmRetained *retained = copy_retained(cpm_retained_size());

	end_open_sessions(&snapshot, sink->now);
	for (int i = 0; i < snapshot.slots; i++)
		if (snapshot.is_used[i])
			save_pool(sink, &snapshot, &load[i], &retained->pool[i], i);
	pfree(retained);
	pfree(load);
	cpm_pool_snapshot_free(&snapshot);
}

static void
load_pool(const void *record)
{
	const SavedPool *saved = record;
	int			index = cpm_pool_load(&saved->pool, &saved->histogram);

	cpm_slots_load(&saved->pool.counts);
	cpm_pool_busy_load(index, &saved->busy);
	cpm_pool_load_restore(index, &saved->load);
	cpm_retained_load_pool(index, &saved->series, saved->pool.counts.of[CPM_QUERIES],
						   &saved->load.since_reset);
}

const CpmFilePart cpm_pools_part = {
	"pools", sizeof(SavedPool), .save = save_pools, .load = load_pool,
	.text = {CPM_TEXT(SavedPool, pool.name.database), CPM_TEXT(SavedPool, pool.name.role),
	CPM_TEXT(SavedPool, pool.name.application_name)}
};

static void
save_pool_totals(CpmSink *sink)
{
	CpmRetained *retained = copy_retained(offsetof(CpmRetained, pool));
	SavedTotals saved = {
		.evicted = cpm_pools_evicted(),
		.max_us = cpm_slots_max_us(),
		.transferred = retained->transferred,
		.transferred_load = retained->transferred_load,
		.immediate_series = retained->immediate_series,
	};

	cpm_put(sink, &saved);
	pfree(retained);
}

static void
load_pool_totals(const void *record)
{
	const SavedTotals *saved = record;

	cpm_pools_load_evicted(saved->evicted);
	cpm_slots_load_max(saved->max_us);
	cpm_retained()->transferred = saved->transferred;
	cpm_retained()->transferred_load = saved->transferred_load;
	cpm_retained()->immediate_series = saved->immediate_series;
}

const CpmFilePart cpm_pool_totals_part = {
	"pool totals", sizeof(SavedTotals), .save = save_pool_totals, .load = load_pool_totals
};

static void
save_retained_databases(CpmSink *sink)
{
	CpmRetained *retained = copy_retained(cpm_retained_size());
	CpmDatabaseCounters *database = cpm_retained_databases(retained);

	for (int i = CPM_OTHER_DATABASE + 1; i <= retained->databases; i++)
		cpm_put(sink, &database[i]);
	pfree(retained);
}

static void
load_database(const void *record)
{
	cpm_retained_load_database(record);
}

const CpmFilePart cpm_retained_databases_part = {
	"retained databases", sizeof(CpmDatabaseCounters),
	.save = save_retained_databases, .load = load_database,
	.text = {CPM_TEXT(CpmDatabaseCounters, name)}
};
