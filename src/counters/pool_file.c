/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_file.c
 *		The part of the statistics file that holds the pools.
 *
 * Pools are written from one snapshot. Of the server's counters (counters/backend_counters), only
 * the longest statement is written; the others are loaded as sums over the pools.
 */
#include "postgres.h"

#include "base/busy.h"
#include "base/histogram.h"
#include "base/pool.h"
#include "base/stream.h"
#include "counters/backend_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_file.h"
#include "counters/pool_retained.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"

/* Count the open sessions of a snapshot as killed, and add their durations to their pools. */
static void
end_open_sessions(CpmPoolSnapshot *snapshot, TimestampTz now)
{
	CpmSlotSession session;

	for (int i = 0; i < cpm_backend_slots(); i++)
		if (cpm_slot_session(i, &session) && session.pool >= 0 && session.pool < snapshot->slots)
			snapshot->pool[session.pool].session_time_us += Max(now - session.started_at, 0);
	for (int i = 0; i < snapshot->slots; i++)
		if (snapshot->is_used[i])
			snapshot->pool[i].ended[CPM_SESSION_KILLED] += snapshot->pool[i].connections;
}

/* Write the non-empty buckets, which are few, with their numbers. */
static void
put_busy(CpmSink *sink, int index)
{
	CpmBusy		busy = {0};

	(void) cpm_pool_busy_copy(index, &busy);
	cpm_put_u64(sink, busy.samples);
	cpm_put_u64(sink, busy.observed_tenths);
	for (uint64 i = 0; i < CPM_BUSY_BUCKETS; i++)
	{
		if (busy.tenths[i] == 0)
			continue;
		cpm_put_has_more(sink, true);
		cpm_put_u64(sink, i);
		cpm_put_u64(sink, busy.tenths[i]);
	}
	cpm_put_has_more(sink, false);
}

static void
get_busy(CpmSource *source, CpmBusy *busy)
{
	memset(busy, 0, sizeof(*busy));
	busy->samples = (uint32) cpm_get_u64(source);
	busy->observed_tenths = cpm_get_u64(source);
	while (cpm_get_has_more(source))
	{
		uint64		bucket = cpm_get_u64(source);

		if (bucket >= CPM_BUSY_BUCKETS)
		{
			source->failed = true;
			break;
		}
		busy->tenths[bucket] = (uint32) cpm_get_u64(source);
		busy->weight += busy->tenths[bucket];
	}
}

static void
save_pool(CpmSink *sink, const CpmPool *pool, int index)
{
	cpm_put_has_more(sink, true);
	cpm_put(sink, &pool->name, sizeof(pool->name));
	cpm_put_u64(sink, pool->peak_connections);
	cpm_put_u64(sink, pool->peak_busy);
	cpm_put_u64(sink, pool->opened);
	cpm_put(sink, pool->ended, sizeof(pool->ended));
	cpm_put_u64(sink, pool->session_time_us);
	cpm_put_u64(sink, pool->setup_time_us);
	cpm_put(sink, &pool->counts, sizeof(pool->counts));
	cpm_put(sink, pool->feature, sizeof(pool->feature));
	cpm_put(sink, pool->feature_seen, sizeof(pool->feature_seen));
	cpm_put(sink, &pool->policy, sizeof(pool->policy));
	cpm_put_histogram(sink, &pool->histogram);
	cpm_retained_save_pool(sink, index);
	put_busy(sink, index);
}

void
cpm_pool_file_save(CpmSink *sink, TimestampTz now)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot();

	end_open_sessions(&snapshot, now);
	cpm_put_mark(sink, sizeof(CpmPoolName));
	cpm_put_u64(sink, cpm_pools_evicted());
	cpm_put_u64(sink, (uint64) cpm_slots_max_us());
	for (int i = 0; i < snapshot.slots; i++)
		if (snapshot.is_used[i])
			save_pool(sink, &snapshot.pool[i], i);
	cpm_put_has_more(sink, false);
	pfree(snapshot.is_used);
	pfree(snapshot.pool);
}

/* Read one pool from the source, without changing shared memory. */
static bool
read_saved_pool(CpmSource *source, CpmPool *pool, CpmBusy *busy, CpmSavedSeries *series)
{
	(void) cpm_get(source, &pool->name, sizeof(pool->name));
	pool->name.database[NAMEDATALEN - 1] = '\0';
	pool->name.role[NAMEDATALEN - 1] = '\0';
	pool->name.application_name[NAMEDATALEN - 1] = '\0';
	pool->connections = 0;
	pool->peak_connections = (uint32) cpm_get_u64(source);
	pool->peak_busy = (uint32) cpm_get_u64(source);
	pool->opened = cpm_get_u64(source);
	(void) cpm_get(source, pool->ended, sizeof(pool->ended));
	pool->session_time_us = cpm_get_u64(source);
	pool->setup_time_us = cpm_get_u64(source);
	(void) cpm_get(source, &pool->counts, sizeof(pool->counts));
	(void) cpm_get(source, pool->feature, sizeof(pool->feature));
	(void) cpm_get(source, pool->feature_seen, sizeof(pool->feature_seen));
	(void) cpm_get(source, &pool->policy, sizeof(pool->policy));
	(void) cpm_get_histogram(source, &pool->histogram);
	*series = cpm_retained_read_pool(source);
	get_busy(source, busy);
	return !source->failed;
}

bool
cpm_pool_file_load(CpmSource *source)
{
	CpmPool		pool;
	CpmBusy		busy;
	CpmSavedSeries series;
	CpmPool		sum = {0};
	uint64		evicted;
	int64		max_us;

	if (!cpm_get_mark(source, sizeof(CpmPoolName)))
		return false;
	evicted = cpm_get_u64(source);
	max_us = (int64) cpm_get_u64(source);
	while (cpm_get_has_more(source))
	{
		int			index;

		if (!read_saved_pool(source, &pool, &busy, &series) || source->validate_only)
			continue;
		for (int i = 0; i < CPM_COUNTS; i++)
			sum.counts.of[i] += pool.counts.of[i];
		cpm_histogram_add(&sum.histogram, &pool.histogram);
		index = cpm_pool_load(&pool);
		cpm_pool_busy_load(index, &busy);
		cpm_retained_load_pool(index, &series, pool.counts.of[CPM_QUERIES]);
	}
	if (source->failed || source->validate_only)
		return !source->failed;
	cpm_pools_load_evicted(evicted);
	cpm_slots_load(&sum.counts, &sum.histogram, max_us);
	return true;
}
