/*
 * shares.c
 *		What each pool has done in the last minute, for metrics that are rates.
 *
 * A rate tells that many connect or fail, and not who. So the sampler remembers every ten
 * seconds what each pool had counted, for a minute, and compares when it is asked. Counts
 * are read one after the other and kept in 32 bits: a share is no sum, and wraps rightly.
 *
 * Of the sampler's process; fixed when it starts.
 */
#include "postgres.h"

#include "store/pool_totals.h"
#include "store/pools.h"
#include "utils/memutils.h"
#include "work/shares.h"

#define KEEP_EVERY_US (10 * USECS_PER_SEC)
#define EARLY_US (USECS_PER_SEC / 2)	/* a round may come a little early */
#define SNAPSHOTS 7				/* from now back to sixty seconds ago */

/* [snapshot][pool], going round */
static CpmPoolTally *kept[SNAPSHOTS];
static int	next;
static int64 kept_at_us;

void
cpm_shares_keep(int64 now_us)
{
	Size		size = cpm_pools_places() * sizeof(CpmPoolTally);

	if (kept_at_us != 0 && now_us - kept_at_us < KEEP_EVERY_US - EARLY_US)
		return;
	if (kept_at_us == 0)
		for (int i = 0; i < SNAPSHOTS; i++)
			kept[i] = MemoryContextAllocExtended(TopMemoryContext, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	cpm_pool_tallies(kept[next]);
	/* before a minute has passed, all are as it was at the start */
	for (int i = 0; i < SNAPSHOTS && kept_at_us == 0; i++)
		memcpy(kept[i], kept[next], size);
	next = (next + 1) % SNAPSHOTS;
	kept_at_us = now_us;
}

const char *
cpm_shares_name(CpmMetricId id)
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
share_of(CpmMetricId id, const CpmPoolTally *tally)
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
cpm_shares_get(CpmMetricId id, int *by_pool, int pools)
{
	CpmPoolTally *now = palloc_extended(pools * sizeof(CpmPoolTally), MCXT_ALLOC_HUGE);
	const CpmPoolTally *then = kept[next];	/* the oldest */

	cpm_pool_tallies(now);
	for (int i = CPM_OTHER_POOL + 1; i < pools && then != NULL; i++)
	{
		/* another pool than was there began with nothing */
		uint32		before = then[i].generation == now[i].generation ? share_of(id, &then[i]) : 0;
		uint32		share = share_of(id, &now[i]) - before;

		by_pool[i] = (int) Min(share, (uint32) PG_INT32_MAX);
	}
	pfree(now);
}
