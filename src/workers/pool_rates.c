/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_rates.c
 *		Computes the contribution of each pool to a rate during the last minute.
 *
 * A rate shows that clients connect or fail often, but not in which pools. So the sampler takes
 * a snapshot of the counters of all pools every ten seconds, or at each sample if samples are
 * further apart. When an alert needs the contributions, it subtracts an old snapshot from the
 * current counters.
 *
 * A snapshot keeps only the low 32 bits of each counter, which suffice for a difference over a
 * minute. Snapshots are local to the sampler's process, so after its restart the first minute is
 * incomplete.
 */
#include "postgres.h"

#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "utils/memutils.h"
#include "workers/pool_rates.h"

#define SNAPSHOT_INTERVAL_US (10 * USECS_PER_SEC)
#define JITTER_US (USECS_PER_SEC / 2)	/* a round may start a little early */
#define WINDOW_US (60 * USECS_PER_SEC)
#define MAX_SNAPSHOTS 7			/* enough to cover WINDOW_US */

typedef struct Snapshot
{
	int64		at_us;			/* monotonic clock */
	CpmPoolRateCounters *counters;	/* by index of counters/pool_table; NULL: none yet */
} Snapshot;

static Snapshot snapshots[MAX_SNAPSHOTS];	/* a ring */
static int	next;

static const Snapshot *
newest(void)
{
	return &snapshots[(next + MAX_SNAPSHOTS - 1) % MAX_SNAPSHOTS];
}

void
cpm_pool_rates_sample(int64 now_us)
{
	Snapshot   *snapshot = &snapshots[next];

	if (newest()->counters != NULL && now_us - newest()->at_us < SNAPSHOT_INTERVAL_US - JITTER_US)
		return;
	if (snapshot->counters == NULL)
		snapshot->counters = MemoryContextAllocHuge(TopMemoryContext, cpm_pool_slots() *
													sizeof(CpmPoolRateCounters));
	snapshot->at_us = now_us;
	cpm_pool_rate_counters(snapshot->counters);
	next = (next + 1) % MAX_SNAPSHOTS;
}

/*
 * Return the last snapshot taken at least a minute before the newest one; if there is none, the
 * oldest snapshot; NULL before the first.
 */
static const CpmPoolRateCounters *
minute_ago(void)
{
	const CpmPoolRateCounters *counters = newest()->counters;

	for (int i = 0; i < MAX_SNAPSHOTS; i++)
	{
		const Snapshot *snapshot = &snapshots[(next + MAX_SNAPSHOTS - 1 - i) % MAX_SNAPSHOTS];

		if (snapshot->counters == NULL)
			break;
		counters = snapshot->counters;
		if (newest()->at_us - snapshot->at_us >= WINDOW_US - JITTER_US)
			break;
	}
	return counters;
}

const char *
cpm_pool_rates_unit(CpmMetricId id)
{
	switch (id)
	{
		case CPM_CONNECTIONS_PER_SECOND:
			return "connections";
		case CPM_FAILED_QUERY_PERCENT:
			return "failures";
		case CPM_AVERAGE_QUERY_TIME_MS:
			return "milliseconds of statement time";
		default:
			return NULL;
	}
}

/* Return the counter whose increase is the pool's contribution to the metric. */
static uint32
counter_of_rate(CpmMetricId id, const CpmPoolRateCounters *counters)
{
	switch (id)
	{
		case CPM_CONNECTIONS_PER_SECOND:
			return counters->opened;
		case CPM_FAILED_QUERY_PERCENT:
			return counters->failed;
		default:
			return counters->time_ms;
	}
}

void
cpm_pool_rates_get(CpmMetricId id, int *by_pool, int pools)
{
	CpmPoolRateCounters *now = palloc_extended(pools * sizeof(CpmPoolRateCounters),
											   MCXT_ALLOC_HUGE);
	const CpmPoolRateCounters *old = minute_ago();

	cpm_pool_rate_counters(now);
	for (int i = CPM_OTHER_POOL + 1; i < pools && old != NULL; i++)
	{
		/* If the slot was reused, its new pool started at zero after the snapshot. */
		uint32		before = old[i].generation == now[i].generation ?
			counter_of_rate(id, &old[i]) : 0;
		int32		increase = (int32) (counter_of_rate(id, &now[i]) - before);

		by_pool[i] = Max(increase, 0);
	}
	pfree(now);
}
