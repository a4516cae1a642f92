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
#include "store/pool_totals.h"
#include "store/pools.h"
#include "store/slots.h"

/* A move takes well under a microsecond, but its process may have to wait for a processor. */
#define MOST_TRIES 1000
#define BETWEEN_TRIES_US 1000

static void
read_once(CpmPoolList *list)
{
	for (int i = 0; i < list->places; i++)
		list->is_used[i] = cpm_pool_copy(i, &list->pool[i]);
	for (int i = 0; i < cpm_slots_places(); i++)
		cpm_slot_add_to_pool(i, list->pool);
}

/* Everything since the server started. */
static CpmPoolList
read_totals(void)
{
	CpmPoolList list = {.places = cpm_pools_places()};

	list.is_used = palloc(list.places * sizeof(bool));
	list.pool = palloc_extended(list.places * sizeof(CpmPool), MCXT_ALLOC_HUGE);
	for (int tries = 0; tries < MOST_TRIES; tries++)
	{
		uint64		before;
		uint64		after;

		CHECK_FOR_INTERRUPTS();
		if (cpm_pools_at_rest(&before))
		{
			read_once(&list);
			if (cpm_pools_at_rest(&after) && after == before)
				return list;
		}
		else
			pg_usleep(BETWEEN_TRIES_US);
	}
	read_once(&list);
	return list;
}

static void
subtract(CpmPool *pool, const CpmPool *earlier)
{
	/* unsigned: a pool that took over sessions may have fewer opened than it has */
	pool->opened -= earlier->opened;
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pool->ended[i] -= earlier->ended[i];
	pool->session_time_us -= earlier->session_time_us;
	pool->setup_time_us -= earlier->setup_time_us;
	cpm_query_counts_subtract(&pool->counts, &earlier->counts);
	cpm_histogram_subtract(&pool->histogram, &earlier->histogram);
}

CpmPoolList
cpm_pool_totals(void)
{
	CpmPoolList list = read_totals();
	CpmPool    *baseline = palloc(sizeof(CpmPool));

	for (int i = 0; i < list.places; i++)
	{
		if (!list.is_used[i])
			continue;
		cpm_pool_copy_baseline(i, baseline);
		subtract(&list.pool[i], baseline);
	}
	pfree(baseline);
	return list;
}

void
cpm_pool_totals_reset(void)
{
	CpmPoolList list = read_totals();

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
