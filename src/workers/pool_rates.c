/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_rates.c
 *		What each pool has done in the last minute, for metrics that are rates.
 *
 * A rate tells that many connect or fail, and not who. So the sampler remembers every ten
 * seconds, or at each sample when those are further apart, what each pool had counted, and
 * compares when it is asked. In 32 bits: a share is no sum, and a difference of a minute fits.
 *
 * Of the sampler's process; fixed when it starts.
 */
#include "postgres.h"

#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "utils/memutils.h"
#include "workers/pool_rates.h"

#define KEEP_EVERY_US (10 * USECS_PER_SEC)
#define EARLY_US (USECS_PER_SEC / 2)	/* a round may come a little early */
#define SPAN_US (60 * USECS_PER_SEC)
#define SNAPSHOTS 7				/* from now back to sixty seconds ago */

typedef struct Snapshot
{
	int64		at_us;
	CpmPoolRateCounters *tally; /* by index of counters/pool_table; NULL: none yet */
} Snapshot;

static Snapshot snapshots[SNAPSHOTS];	/* going round */
static int	next;

static const Snapshot *
newest(void)
{
	return &snapshots[(next + SNAPSHOTS - 1) % SNAPSHOTS];
}

void
cpm_pool_rates_sample(int64 now_us)
{
	Snapshot   *snapshot = &snapshots[next];

	if (newest()->tally != NULL && now_us - newest()->at_us < KEEP_EVERY_US - EARLY_US)
		return;
	if (snapshot->tally == NULL)
		snapshot->tally = MemoryContextAllocHuge(TopMemoryContext, cpm_pool_slots() * sizeof(CpmPoolRateCounters));
	snapshot->at_us = now_us;
	cpm_pool_rate_counters(snapshot->tally);
	next = (next + 1) % SNAPSHOTS;
}

/* The newest that is a minute old, else the oldest; NULL before the first. */
static const CpmPoolRateCounters *
minute_ago(void)
{
	const CpmPoolRateCounters *tally = newest()->tally;

	for (int i = 0; i < SNAPSHOTS; i++)
	{
		const Snapshot *snapshot = &snapshots[(next + SNAPSHOTS - 1 - i) % SNAPSHOTS];

		if (snapshot->tally == NULL)
			break;
		tally = snapshot->tally;
		if (newest()->at_us - snapshot->at_us >= SPAN_US - EARLY_US)
			break;
	}
	return tally;
}

const char *
cpm_pool_rates_name(CpmMetricId id)
{
	switch (id)
	{
		case CPM_CONNECTIONS_PER_SECOND:
			return "connections";
		case CPM_FAILED_QUERY_PERCENT:
			return "failures";
		case CPM_AVERAGE_QUERY_TIME_MS:
			return "milliseconds";
		default:
			return NULL;
	}
}

static uint32
share_of(CpmMetricId id, const CpmPoolRateCounters *tally)
{
	switch (id)
	{
		case CPM_CONNECTIONS_PER_SECOND:
			return tally->opened;
		case CPM_FAILED_QUERY_PERCENT:
			return tally->failed;
		default:
			return tally->time_ms;
	}
}

void
cpm_pool_rates_get(CpmMetricId id, int *by_pool, int pools)
{
	CpmPoolRateCounters *now = palloc_extended(pools * sizeof(CpmPoolRateCounters), MCXT_ALLOC_HUGE);
	const CpmPoolRateCounters *then = minute_ago();

	cpm_pool_rate_counters(now);
	for (int i = CPM_OTHER_POOL + 1; i < pools && then != NULL; i++)
	{
		/* another pool than was there began with nothing */
		uint32		before = then[i].generation == now[i].generation ? share_of(id, &then[i]) : 0;
		int32		share = (int32) (share_of(id, &now[i]) - before);

		by_pool[i] = Max(share, 0);
	}
	pfree(now);
}
