/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_snapshot.c
 *		Consistent snapshots of all pools: the counters in the pool table plus those
 *		that open sessions still hold in their backend slots.
 *
 * A reader copies the pools first, then the slots, then the baselines of the last reset. If a
 * session transfers its counts to its pool in between, the snapshot lacks them or has them twice;
 * if a pool is evicted in between, its baseline is not subtracted. So the reader compares the
 * number of transfers (counters/counter_transfer) before and after, and retries if it has changed.
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

/*
 * Limits of a reader's waits for transfers in progress. A transfer takes well under a microsecond,
 * but its process may lose the CPU in the middle of it.
 */
#define MAX_WAITS 1000
#define MAX_WAITS_NOWAIT 20
#define WAITS_BEFORE_PAUSE 3
#define WAIT_US 1000

/* Limits of the number of reads, each of which a transfer may overlap. */
#define MAX_READS 20
#define READS_BEFORE_PAUSE 3

#define MAX_RATE_READS 5		/* an inconsistent read does not matter much to rates */

#define PREFETCH_DISTANCE 12	/* backend slots between the one prefetched and the one read */

/*
 * Return the increase since the baseline, or 0 if a reset wrote the baseline after the caller read
 * the counter. The comparison is signed because the baseline of "opened" is negative in a pool
 * that sessions have entered by renaming themselves: fewer sessions opened in it than it has now.
 */
static uint64
since(uint64 now, uint64 earlier)
{
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

/*
 * Read all pools once. *baseline is space for the baseline of one pool. If it is NULL, the result
 * is the counters since the server started instead of those since the last reset.
 */
static void
read_once(CpmPoolSnapshot *snapshot, CpmPool *baseline)
{
	for (int i = 0; i < snapshot->slots; i++)
		snapshot->is_used[i] = cpm_pool_copy(i, &snapshot->pool[i]);
	for (int i = 0; i < cpm_backend_slots(); i++)
	{
		cpm_slot_prefetch(i + PREFETCH_DISTANCE);
		cpm_slot_add_to_pool(i, snapshot->pool);
	}
	for (int i = 0; i < snapshot->slots && baseline != NULL; i++)
	{
		if (snapshot->is_used[i] && cpm_pool_copy_baseline(i, baseline))
			subtract(&snapshot->pool[i], baseline);
	}
}

/* Set negative counts to zero: a read may subtract a slot's new base from an older count. */
static void
clamp(CpmPoolSnapshot *snapshot)
{
	for (int i = 0; i < snapshot->slots; i++)
	{
		CpmPool    *pool = &snapshot->pool[i];

		for (int count = 0; snapshot->is_used[i] && count < CPM_COUNTS; count++)
			pool->counts.of[count] = (uint64) Max((int64) pool->counts.of[count], 0);
		for (int bucket = 0; snapshot->is_used[i] && bucket < CPM_BUCKETS; bucket++)
			pool->histogram.count[bucket] = (uint64) Max((int64) pool->histogram.count[bucket], 0);
	}
}

/* Read until no transfer overlaps the read; give up after MAX_READS reads or the last wait. */
static void
read_between_transfers(CpmPoolSnapshot *snapshot, CpmPool *baseline, bool nowait)
{
	int			waits_left = nowait ? MAX_WAITS_NOWAIT : MAX_WAITS;
	int			reads = 0;
	bool		is_paused = false;
	bool		is_consistent = false;

	while (!is_consistent && reads < MAX_READS)
	{
		uint64		before;
		uint64		after;
		bool		is_quiescent;

		CHECK_FOR_INTERRUPTS();
		if (nowait || reads >= READS_BEFORE_PAUSE || waits_left < MAX_WAITS - WAITS_BEFORE_PAUSE)
		{
			cpm_transfers_pause();
			is_paused = true;
		}
		is_quiescent = cpm_transfers_are_done(&before);
		if (!is_quiescent && waits_left > 0)
		{
			waits_left--;
			pg_usleep(WAIT_US);
			continue;
		}
		read_once(snapshot, baseline);
		reads++;
		is_consistent = is_quiescent && cpm_transfers_are_done(&after) && after == before;
		/* a transfer that has not ended after all waits will not end during another read */
		if (waits_left == 0)
			break;
	}
	if (!is_consistent)
		clamp(snapshot);
	if (is_paused)
		cpm_transfers_resume();
}

CpmPoolSnapshot
cpm_pool_snapshot_alloc(void)
{
	CpmPoolSnapshot snapshot = {.slots = cpm_pool_slots()};

	snapshot.is_used = palloc(snapshot.slots * sizeof(bool));
	/* the entry after the last pool is space for a baseline; see read_once() */
	snapshot.pool = palloc_extended((snapshot.slots + 1) * sizeof(CpmPool), MCXT_ALLOC_HUGE);
	return snapshot;
}

void
cpm_pool_snapshot_read(CpmPoolSnapshot *snapshot, bool nowait)
{
	read_between_transfers(snapshot, &snapshot->pool[snapshot->slots], nowait);
}

CpmPoolSnapshot
cpm_pool_snapshot(void)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot_alloc();

	cpm_pool_snapshot_read(&snapshot, false);
	return snapshot;
}

void
cpm_pool_rate_counters(CpmPoolRateCounters *counters)
{
	int			pools = cpm_pool_slots();
	CpmQueryCounts *counts = palloc_extended(pools * sizeof(CpmQueryCounts), MCXT_ALLOC_HUGE);
	bool		has_overlap = true;

	for (int tries = 0; has_overlap && tries < MAX_RATE_READS; tries++)
	{
		uint64		before;
		uint64		after;

		has_overlap = !cpm_transfers_are_done(&before);
		for (int i = 0; i < pools; i++)
			counters[i].opened = (uint32) cpm_pool_counts(i, &counters[i].generation, &counts[i]);
		for (int i = 0; i < cpm_backend_slots(); i++)
			cpm_slot_add_counts(i, counts);
		has_overlap |= !cpm_transfers_are_done(&after) || after != before;
	}
	for (int i = 0; i < pools; i++)
	{
		counters[i].failed = (uint32) counts[i].of[CPM_FAILED_QUERIES];
		counters[i].time_ms = (uint32) (counts[i].of[CPM_QUERY_TIME_US] / 1000);
	}
	pfree(counts);
}

void
cpm_pools_reset_baselines(CpmPoolSnapshot *totals)
{
	read_between_transfers(totals, NULL, true);
	/* within a transfer, so that a snapshot subtracts all baselines of this reset or none */
	cpm_transfer_begin();
	for (int i = 0; i < totals->slots; i++)
	{
		if (!totals->is_used[i])
			continue;
		totals->pool[i].opened -= totals->pool[i].connections;
		cpm_pool_set_baseline(i, &totals->pool[i]);
	}
	cpm_transfer_end();
	cpm_pools_reset_peaks();
}
