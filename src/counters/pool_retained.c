/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_retained.c
 *		State that outlives evicted pools and ended series, so that monotonic counters
 *		never decrease.
 *
 * New pools evict old ones, and only some have a series of their own in /metrics. Without this
 * state, an eviction would decrease the counter of the pool's database, and a pool that gets a
 * series would decrease the counter of the series "other". So this module sums the counts of
 * evicted pools by database, and "transferred" adjusts "other" when a series begins or ends.
 *
 * When the first pool of a database since the reset is created, the database gets counters of its
 * own. If max_pools or CPM_MAX_DATABASES databases have such counters already, it gets none until
 * the next reset.
 */
#include "postgres.h"

#include "base/load.h"
#include "base/pool.h"
#include "base/settings.h"
#include "counters/pool_retained.h"
#include "storage/shmem.h"

static CpmRetained *retained;

Size
cpm_retained_size(void)
{
	return add_size(offsetof(CpmRetained, pool),
					mul_size(cpm_max_pools + 1,
							 sizeof(CpmRetainedPool) + sizeof(CpmDatabaseCounters)));
}

void
cpm_retained_attach(void *memory, bool is_new)
{
	retained = memory;
	if (is_new)
		memset(retained, 0, cpm_retained_size());
}

CpmRetained *
cpm_retained(void)
{
	return retained;
}

CpmDatabaseCounters *
cpm_retained_databases(CpmRetained *of)
{
	return (CpmDatabaseCounters *) &of->pool[cpm_max_pools + 1];
}

/* Return the index of the database's counters, adding them unless the limit is reached. */
static int
find_database(const char *name)
{
	CpmDatabaseCounters *database = cpm_retained_databases(retained);

	if (name[0] == '\0' || strcmp(name, CPM_SERIES_NO_DATABASE) == 0)
		return CPM_OTHER_DATABASE;
	for (int i = CPM_OTHER_DATABASE + 1; i <= retained->databases; i++)
		if (strcmp(database[i].name, name) == 0)
			return i;
	if (retained->databases >= Min(cpm_max_pools, CPM_MAX_DATABASES))
		return CPM_OTHER_DATABASE;
	retained->databases++;
	memset(&database[retained->databases], 0, sizeof(CpmDatabaseCounters));
	strlcpy(database[retained->databases].name, name, NAMEDATALEN);
	return retained->databases;
}

void
cpm_retained_add_pool(int index, const char *database)
{
	retained->pool[index].database = find_database(database);
}

void
cpm_retained_evict(int index, uint64 queries, uint64 failed)
{
	CpmRetainedPool *pool = &retained->pool[index];
	CpmRetainedPool *other = &retained->pool[CPM_OTHER_POOL];
	CpmDatabaseCounters *database = &cpm_retained_databases(retained)[pool->database];

	database->queries += queries - pool->base_queries;
	database->failed += failed - pool->base_failed;
	/* "other" now receives all statements of the pool; subtract those that its series has shown */
	if (pool->has_series)
	{
		retained->transferred -= pool->shown_queries;
		cpm_load_subtract(&retained->transferred_load, &pool->shown_load);
	}
	other->base_queries += pool->base_queries;
	other->base_failed += pool->base_failed;
	memset(pool, 0, sizeof(*pool));
}

void
cpm_retained_reset(void)
{
	retained->transferred = 0;
	memset(&retained->transferred_load, 0, sizeof(retained->transferred_load));
	retained->databases = 0;
	for (int i = 0; i <= cpm_max_pools; i++)
	{
		CpmRetainedPool *pool = &retained->pool[i];

		/* marked_sessions stays, because resets do not clear CpmPoolUse */
		pool->base_queries = pool->base_failed = 0;
		pool->hidden_queries = pool->shown_queries = pool->marked_queries = 0;
		memset(&pool->hidden_load, 0, sizeof(pool->hidden_load));
		memset(&pool->shown_load, 0, sizeof(pool->shown_load));
	}
}

void
cpm_retained_load_database(const CpmDatabaseCounters *saved)
{
	CpmDatabaseCounters *database =
		&cpm_retained_databases(retained)[find_database(saved->name)];

	database->queries += saved->queries;
	database->failed += saved->failed;
}

void
cpm_retained_load_pool(int index, const CpmSavedSeries *saved, uint64 queries,
					   const CpmLoad *load)
{
	CpmRetainedPool *pool = &retained->pool[index];

	pool->marked_queries = queries;
	if (!saved->has_series)
		return;
	if (index == CPM_OTHER_POOL)
	{
		/* max_pools was lowered, so the series ends */
		retained->transferred -= queries;
		cpm_load_subtract(&retained->transferred_load, load);
		return;
	}
	pool->has_series = true;
	pool->hidden_queries = saved->hidden_queries;
	pool->shown_queries = queries;
	pool->hidden_load = saved->hidden_load;
	pool->shown_load = *load;
}
