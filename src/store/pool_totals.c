/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_totals.c
 *		Pools as they stand: what sessions have given them and what those that
 *		still run have counted, together.
 *
 * The two are read one after the other. A session that gives its counts to a
 * pool in between would be seen twice or not at all, so a reader compares the
 * number of such moves before and after, and reads again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "store/busy_times.h"
#include "store/exposed.h"
#include "store/moves.h"
#include "store/pool_totals.h"
#include "store/pools.h"
#include "store/slots.h"

/* A move takes well under a microsecond, but its process may have to wait for a processor. */
#define MOST_WAITS 1000
#define MOST_WAITS_IN_HASTE 20
#define WAITS_WITHOUT_QUIET 3
#define WAIT_US 1000

/* Where one follows the other all the time, others are asked to wait. */
#define MOST_READS 20
#define READS_WITHOUT_QUIET 3

#define MOST_TALLIES 5			/* for a comparison, what they come to will do */

#define SLOTS_AHEAD 12			/* that are on their way to the cache while one is read */

static void
read_once(CpmPoolList *list)
{
	for (int i = 0; i < list->places; i++)
		list->is_used[i] = cpm_pool_copy(i, &list->pool[i]);
	for (int i = 0; i < cpm_slots_places(); i++)
	{
		cpm_slot_prefetch(i + SLOTS_AHEAD);
		cpm_slot_add_to_pool(i, list->pool);
	}
}

/* What was read before and after a move may come to less than nothing. */
static void
clamp(CpmPoolList *list)
{
	for (int i = 0; i < list->places; i++)
	{
		CpmPool    *pool = &list->pool[i];

		for (int count = 0; list->is_used[i] && count < CPM_COUNTS; count++)
			pool->counts.of[count] = (uint64) Max((int64) pool->counts.of[count], 0);
		for (int bucket = 0; list->is_used[i] && bucket < CPM_BUCKETS; bucket++)
			pool->histogram.count[bucket] = (uint64) Max((int64) pool->histogram.count[bucket], 0);
	}
}

/* Between two moves, or as it can be had. */
static void
read_at_rest(CpmPoolList *list, bool in_haste)
{
	int			waits = in_haste ? MOST_WAITS_IN_HASTE : MOST_WAITS;
	int			reads = 0;
	bool		asked = false;
	bool		is_whole = false;

	while (!is_whole && reads < MOST_READS)
	{
		uint64		before;
		uint64		after;
		bool		at_rest;

		CHECK_FOR_INTERRUPTS();
		if (in_haste || reads >= READS_WITHOUT_QUIET || waits < MOST_WAITS - WAITS_WITHOUT_QUIET)
		{
			cpm_moves_ask_for_quiet();
			asked = true;
		}
		at_rest = cpm_moves_at_rest(&before);
		if (!at_rest && waits > 0)
		{
			waits--;
			pg_usleep(WAIT_US);
			continue;
		}
		read_once(list);
		reads++;
		is_whole = at_rest && cpm_moves_at_rest(&after) && after == before;
		/* of what will not come to rest, once is enough */
		if (waits == 0)
			break;
	}
	if (!is_whole)
		clamp(list);
	if (asked)
		cpm_moves_end_quiet();
}

/* Everything since the server started. */
static CpmPoolList
read_totals(bool in_haste)
{
	CpmPoolList list = {.places = cpm_pools_places()};

	list.is_used = palloc(list.places * sizeof(bool));
	list.pool = palloc_extended(list.places * sizeof(CpmPool), MCXT_ALLOC_HUGE);
	read_at_rest(&list, in_haste);
	return list;
}

/* A reset may have come in between: then nothing has been counted since. */
static uint64
since(uint64 now, uint64 earlier)
{
	/* signed: a pool that took over sessions may have fewer opened than it has */
	return (uint64) Max((int64) (now - earlier), 0);
}

static void
subtract(CpmPool *pool, const CpmPool *earlier)
{
	pool->opened = since(pool->opened, earlier->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pool->ended[i] = since(pool->ended[i], earlier->ended[i]);
	pool->session_time_us = since(pool->session_time_us, earlier->session_time_us);
	pool->setup_time_us = since(pool->setup_time_us, earlier->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		pool->feature[i] = since(pool->feature[i], earlier->feature[i]);
	cpm_query_counts_subtract(&pool->counts, &earlier->counts);
	cpm_histogram_subtract(&pool->histogram, &earlier->histogram);
}

static void
subtract_baselines(CpmPoolList *list)
{
	CpmPool    *baseline = palloc(sizeof(CpmPool));

	for (int i = 0; i < list->places; i++)
	{
		if (list->is_used[i] && cpm_pool_copy_baseline(i, baseline))
			subtract(&list->pool[i], baseline);
	}
	pfree(baseline);
}

CpmPoolList
cpm_pool_totals(void)
{
	CpmPoolList list = read_totals(false);

	subtract_baselines(&list);
	return list;
}

CpmPoolList
cpm_pool_totals_in_haste(void)
{
	CpmPoolList list = read_totals(true);

	subtract_baselines(&list);
	return list;
}

void
cpm_pool_tallies(CpmPoolTally *tally)
{
	int			pools = cpm_pools_places();
	CpmQueryCounts *counts = palloc_extended(pools * sizeof(CpmQueryCounts), MCXT_ALLOC_HUGE);
	bool		is_disturbed = true;

	for (int tries = 0; is_disturbed && tries < MOST_TALLIES; tries++)
	{
		uint64		before;
		uint64		after;

		is_disturbed = !cpm_moves_at_rest(&before);
		for (int i = 0; i < pools; i++)
			tally[i].opened = (uint32) cpm_pool_counts(i, &tally[i].generation, &counts[i]);
		for (int i = 0; i < cpm_slots_places(); i++)
			cpm_slot_add_counts(i, counts);
		is_disturbed |= !cpm_moves_at_rest(&after) || after != before;
	}
	for (int i = 0; i < pools; i++)
	{
		tally[i].failed = (uint32) counts[i].of[CPM_FAILED_QUERIES];
		tally[i].time_ms = (uint32) (counts[i].of[CPM_QUERY_TIME_US] / 1000);
	}
	pfree(counts);
}

void
cpm_pool_totals_reset(void)
{
	CpmPoolList list = read_totals(true);

	for (int i = 0; i < list.places; i++)
	{
		if (!list.is_used[i])
			continue;
		list.pool[i].opened -= list.pool[i].connections;
		cpm_pool_set_baseline(i, &list.pool[i]);
	}
	cpm_pools_reset_peaks();
	pfree(list.is_used);
	pfree(list.pool);
}

/* How long the sessions that are open have been, added to their pools. */
static void
end_open_sessions(CpmPoolList *list, TimestampTz now)
{
	CpmSlotSession session;

	for (int i = 0; i < cpm_slots_places(); i++)
		if (cpm_slot_session(i, &session) && session.pool >= 0 && session.pool < list->places)
			list->pool[session.pool].session_time_us += Max(now - session.started_at, 0);
	for (int i = 0; i < list->places; i++)
		if (list->is_used[i])
			list->pool[i].ended[CPM_SESSION_KILLED] += list->pool[i].connections;
}

/* Most buckets are empty: only the others are written. */
static void
put_busy(CpmSink *sink, int index)
{
	CpmBusy		busy = {0};

	(void) cpm_busy_times_copy(index, &busy);
	cpm_put_u64(sink, busy.samples);
	cpm_put_u64(sink, busy.observed_tenths);
	for (uint64 i = 0; i < CPM_BUSY_BUCKETS; i++)
	{
		if (busy.tenths[i] == 0)
			continue;
		cpm_put_another(sink, true);
		cpm_put_u64(sink, i);
		cpm_put_u64(sink, busy.tenths[i]);
	}
	cpm_put_another(sink, false);
}

static void
get_busy(CpmSource *source, CpmBusy *busy)
{
	memset(busy, 0, sizeof(*busy));
	busy->samples = (uint32) cpm_get_u64(source);
	busy->observed_tenths = cpm_get_u64(source);
	while (cpm_get_another(source))
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
	cpm_put_another(sink, true);
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
	cpm_put_u64(sink, cpm_exposed_is_named(index));
	put_busy(sink, index);
}

void
cpm_pool_totals_save(CpmSink *sink, TimestampTz now)
{
	CpmPoolList list = cpm_pool_totals();

	end_open_sessions(&list, now);
	cpm_put_mark(sink, sizeof(CpmPoolName));
	cpm_put_u64(sink, cpm_pools_folded());
	cpm_put_u64(sink, (uint64) cpm_slots_max_us());
	for (int i = 0; i < list.places; i++)
		if (list.is_used[i])
			save_pool(sink, &list.pool[i], i);
	cpm_put_another(sink, false);
	pfree(list.is_used);
	pfree(list.pool);
}

static bool
load_pool(CpmSource *source, CpmPool *pool, CpmBusy *busy, bool *is_named)
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
	*is_named = cpm_get_u64(source) != 0;
	get_busy(source, busy);
	return !source->failed;
}

bool
cpm_pool_totals_load(CpmSource *source)
{
	CpmPool		pool;
	CpmBusy		busy;
	bool		is_named;
	CpmPool		sum = {0};
	uint64		folded;
	int64		max_us;

	if (!cpm_get_mark(source, sizeof(CpmPoolName)))
		return false;
	folded = cpm_get_u64(source);
	max_us = (int64) cpm_get_u64(source);
	while (cpm_get_another(source))
	{
		int			index;

		if (!load_pool(source, &pool, &busy, &is_named) || source->rehearsal)
			continue;
		for (int i = 0; i < CPM_COUNTS; i++)
			sum.counts.of[i] += pool.counts.of[i];
		cpm_histogram_add(&sum.histogram, &pool.histogram);
		index = cpm_pool_load(&pool);
		cpm_busy_times_load(index, &busy);
		cpm_exposed_load_named(index, is_named, pool.counts.of[CPM_QUERIES]);
	}
	if (source->failed || source->rehearsal)
		return !source->failed;
	cpm_pools_load_folded(folded);
	cpm_slots_load(&sum.counts, &sum.histogram, max_us);
	return true;
}
