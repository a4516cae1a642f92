/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_snapshot.c
 *		Pools as they stand: what sessions have given them and what those that
 *		still run have counted, together.
 *
 * The two are read one after the other. A session that gives its counts to a
 * pool in between would be seen twice or not at all, so a reader compares the
 * number of such moves before and after, and reads again.
 */
#include "postgres.h"

#include "base/histogram.h"
#include "base/query_counts.h"
#include "counters/backend_counters.h"
#include "counters/counter_transfer.h"
#include "counters/pool_counters.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "miscadmin.h"

/* A move takes well under a microsecond, but its process may have to wait for a processor. */
#define MAX_WAITS 1000
#define MAX_WAITS_NOWAIT 20
#define WAITS_BEFORE_PAUSE 3
#define WAIT_US 1000

/* Where one follows the other all the time, others are asked to wait. */
#define MAX_READS 20
#define READS_BEFORE_PAUSE 3

#define MAX_RATE_READS 5		/* for a comparison, what they come to will do */

#define SLOTS_AHEAD 12			/* that are on their way to the cache while one is read */

static void
read_once(CpmPoolSnapshot *list)
{
	for (int i = 0; i < list->slots; i++)
		list->is_used[i] = cpm_pool_copy(i, &list->pool[i]);
	for (int i = 0; i < cpm_backend_slots(); i++)
	{
		cpm_slot_prefetch(i + SLOTS_AHEAD);
		cpm_slot_add_to_pool(i, list->pool);
	}
}

/* What was read before and after a move may come to less than nothing. */
static void
clamp(CpmPoolSnapshot *list)
{
	for (int i = 0; i < list->slots; i++)
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
read_between_transfers(CpmPoolSnapshot *list, bool nowait)
{
	int			waits = nowait ? MAX_WAITS_NOWAIT : MAX_WAITS;
	int			reads = 0;
	bool		asked = false;
	bool		is_whole = false;

	while (!is_whole && reads < MAX_READS)
	{
		uint64		before;
		uint64		after;
		bool		is_quiescent;

		CHECK_FOR_INTERRUPTS();
		if (nowait || reads >= READS_BEFORE_PAUSE || waits < MAX_WAITS - WAITS_BEFORE_PAUSE)
		{
			cpm_transfers_pause();
			asked = true;
		}
		is_quiescent = cpm_transfers_are_done(&before);
		if (!is_quiescent && waits > 0)
		{
			waits--;
			pg_usleep(WAIT_US);
			continue;
		}
		read_once(list);
		reads++;
		is_whole = is_quiescent && cpm_transfers_are_done(&after) && after == before;
		/* of what will not come to rest, once is enough */
		if (waits == 0)
			break;
	}
	if (!is_whole)
		clamp(list);
	if (asked)
		cpm_transfers_resume();
}

/* Everything since the server started. */
static CpmPoolSnapshot
read_totals(bool nowait)
{
	CpmPoolSnapshot list = {.slots = cpm_pool_slots()};

	list.is_used = palloc(list.slots * sizeof(bool));
	list.pool = palloc_extended(list.slots * sizeof(CpmPool), MCXT_ALLOC_HUGE);
	read_between_transfers(&list, nowait);
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
subtract_baselines(CpmPoolSnapshot *list)
{
	CpmPool    *baseline = palloc(sizeof(CpmPool));

	for (int i = 0; i < list->slots; i++)
	{
		if (list->is_used[i] && cpm_pool_copy_baseline(i, baseline))
			subtract(&list->pool[i], baseline);
	}
	pfree(baseline);
}

CpmPoolSnapshot
cpm_pool_snapshot(void)
{
	CpmPoolSnapshot list = read_totals(false);

	subtract_baselines(&list);
	return list;
}

CpmPoolSnapshot
cpm_pool_snapshot_nowait(void)
{
	CpmPoolSnapshot list = read_totals(true);

	subtract_baselines(&list);
	return list;
}

void
cpm_pool_rate_counters(CpmPoolRateCounters *counters)
{
	int			pools = cpm_pool_slots();
	CpmQueryCounts *counts = palloc_extended(pools * sizeof(CpmQueryCounts), MCXT_ALLOC_HUGE);
	bool		is_disturbed = true;

	for (int tries = 0; is_disturbed && tries < MAX_RATE_READS; tries++)
	{
		uint64		before;
		uint64		after;

		is_disturbed = !cpm_transfers_are_done(&before);
		for (int i = 0; i < pools; i++)
			counters[i].opened = (uint32) cpm_pool_counts(i, &counters[i].generation, &counts[i]);
		for (int i = 0; i < cpm_backend_slots(); i++)
			cpm_slot_add_counts(i, counts);
		is_disturbed |= !cpm_transfers_are_done(&after) || after != before;
	}
	for (int i = 0; i < pools; i++)
	{
		counters[i].failed = (uint32) counts[i].of[CPM_FAILED_QUERIES];
		counters[i].time_ms = (uint32) (counts[i].of[CPM_QUERY_TIME_US] / 1000);
	}
	pfree(counts);
}

void
cpm_pools_reset_baselines(void)
{
	CpmPoolSnapshot list = read_totals(true);

	for (int i = 0; i < list.slots; i++)
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
