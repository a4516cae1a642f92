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
 * Limits of a reader's waits for transfers in progress. A transfer is short, but its process may
 * lose the CPU in the middle of it.
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

typedef void (*Reader) (void *arg);

static CpmHistogram *
histogram_of(const CpmPoolSnapshot *snapshot, int index)
{
	return &snapshot->histogram[snapshot->histograms == 1 ? 0 : index];
}

/* Add the counts and buckets that open sessions hold in their slots. */
static void
add_slots(CpmPoolSnapshot *snapshot)
{
	for (int i = 0; i < cpm_backend_slots(); i++)
	{
		int			pool = cpm_slot_pool_index(i);

		if (snapshot->histograms > 0)
			cpm_slot_prefetch_buckets(i + PREFETCH_DISTANCE);
		if (pool < 0)
			continue;
		cpm_slot_add_counts(i, &snapshot->pool[pool].counts);
		if (snapshot->histograms > 0)
			cpm_slot_add_buckets(i, histogram_of(snapshot, pool));
	}
}

/* Read all counters without subtracting baselines; a Reader. */
static void
read_totals(void *arg)
{
	CpmPoolSnapshot *snapshot = arg;

	if (snapshot->histograms == 1)
		memset(snapshot->histogram, 0, sizeof(CpmHistogram));
	for (int i = 0; i < snapshot->slots; i++)
	{
		snapshot->is_used[i] = cpm_pool_copy(i, &snapshot->pool[i]);
		if (!snapshot->is_used[i] || snapshot->histograms == 0)
			continue;
		if (snapshot->histograms > 1)
			memset(histogram_of(snapshot, i), 0, sizeof(CpmHistogram));
		cpm_pool_add_buckets_to(i, histogram_of(snapshot, i));
	}
	add_slots(snapshot);
}

/* Read all counters since the last reset; a Reader. */
static void
read_since_reset(void *arg)
{
	CpmPoolSnapshot *snapshot = arg;

	read_totals(snapshot);
	for (int i = 0; i < snapshot->slots; i++)
	{
		if (!snapshot->is_used[i])
			continue;
		cpm_pool_subtract_baseline(i, &snapshot->pool[i]);
		if (snapshot->histograms > 0)
			cpm_pool_subtract_bucket_baseline(i, histogram_of(snapshot, i));
	}
}

/* Sum the buckets of all pools and slots; a Reader. */
static void
read_histogram(void *arg)
{
	CpmHistogram *histogram = arg;

	memset(histogram, 0, sizeof(*histogram));
	for (int i = 0; i < cpm_pool_slots(); i++)
		cpm_pool_add_buckets_to(i, histogram);
	for (int i = 0; i < cpm_backend_slots(); i++)
	{
		cpm_slot_prefetch_buckets(i + PREFETCH_DISTANCE);
		cpm_slot_add_buckets(i, histogram);
	}
}

/*
 * Call the reader until no transfer overlaps the call; give up after MAX_READS calls or the last
 * wait.
 */
static bool
read_between_transfers(Reader reader, void *arg, bool nowait)
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
		reader(arg);
		reads++;
		is_consistent = is_quiescent && cpm_transfers_are_done(&after) && after == before;
		/* a transfer that has not ended after all waits will not end during another read */
		if (waits_left == 0)
			break;
	}
	if (is_paused)
		cpm_transfers_resume();
	return is_consistent;
}

CpmPoolSnapshot
cpm_pool_snapshot_alloc(CpmSnapshotHistograms kind)
{
	CpmPoolSnapshot snapshot = {.slots = cpm_pool_slots()};

	snapshot.histograms = kind == CPM_HISTOGRAM_OF_EACH_POOL ? snapshot.slots :
		kind == CPM_HISTOGRAM_OF_ALL_POOLS ? 1 : 0;
	snapshot.is_used = palloc(snapshot.slots * sizeof(bool));
	snapshot.pool = palloc_extended(snapshot.slots * sizeof(CpmPool), MCXT_ALLOC_HUGE);
	snapshot.histogram = palloc_extended(snapshot.histograms * sizeof(CpmHistogram),
										 MCXT_ALLOC_HUGE);
	return snapshot;
}

void
cpm_pool_snapshot_free(CpmPoolSnapshot *snapshot)
{
	pfree(snapshot->is_used);
	pfree(snapshot->pool);
	pfree(snapshot->histogram);
}

void
cpm_pool_snapshot_read(CpmPoolSnapshot *snapshot, bool nowait)
{
	(void) read_between_transfers(read_since_reset, snapshot, nowait);
}

CpmPoolSnapshot
cpm_pool_snapshot(CpmSnapshotHistograms kind)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot_alloc(kind);

	cpm_pool_snapshot_read(&snapshot, false);
	return snapshot;
}

bool
cpm_pools_histogram(CpmHistogram *histogram, bool nowait)
{
	return read_between_transfers(read_histogram, histogram, nowait);
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
		{
			int			pool = cpm_slot_pool_index(i);

			if (pool >= 0)
				cpm_slot_add_counts(i, &counts[pool]);
		}
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
	(void) read_between_transfers(read_totals, totals, true);
	/* within a transfer, so that a snapshot subtracts all baselines of this reset or none */
	cpm_transfer_begin();
	for (int i = 0; i < totals->slots; i++)
	{
		if (!totals->is_used[i])
			continue;
		totals->pool[i].opened -= totals->pool[i].connections;
		cpm_pool_set_baseline(i, &totals->pool[i], histogram_of(totals, i));
	}
	cpm_transfer_end();
	cpm_pools_reset_peaks();
}
