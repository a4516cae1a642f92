/* SPDX-License-Identifier: PostgreSQL */
/*
 * exposed.c
 *		Counters that never fall while the server runs, for those who compute rates
 *		from them.
 *
 * Pools can be folded, and only the largest are named: without memory, the
 * counter of a database would fall when a pool of it is folded, and that of all
 * other pools whenever one changes sides. So folded pools are kept by their
 * database, and what changed sides stays where it was counted: in `moved`, which
 * is added to the others. The first twenty pools get a name at once, so that they
 * never were among the others; those that come later are seen there first.
 *
 * A reset begins anew, and so does a start after a crash: from the base, which
 * is what was loaded then. All of it is guarded by the lock of store/pools, under
 * which pools are folded.
 */
#include "postgres.h"

#include "base/settings.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "store/exposed.h"
#include "store/leak_log.h"
#include "store/periods.h"
#include "store/pools.h"
#include "store/refusals.h"
#include "store/session_counts.h"

/* Folded pools are told apart by so many databases; of what is more, only the sum is known. */
#define MOST_DATABASES 64
#define MOST_TRIES 3

typedef struct PlaceBase
{
	bool		is_named;
	uint64		queries;
	uint64		failed;
	uint64		shown;			/* of its statements, when they were read last under its name */
} PlaceBase;

/* Databases of pools that were folded, and what "(other)" began with. */
typedef struct Folded
{
	int			databases;
	CpmExposedDatabase database[MOST_DATABASES];
	PlaceBase	other;
	uint64	   *failed;			/* by index of store/pools, above their bases */
} Folded;

/* Guarded by the lock of store/pools, except that the field "reads" is also read without it. */
typedef struct Exposed
{
	uint64		reads;			/* number of completed reads and resets */
	bool		was_read;			/* since all began */
	bool		began_anew;		/* after a crash, and something had been counted */
	uint64		moved;			/* statements of pools that came to be named, less of those that ceased to be */
	int			databases;
	CpmExposedDatabase folded[MOST_DATABASES];
	CpmExposedTotals base;
	PlaceBase	place[FLEXIBLE_ARRAY_MEMBER];
} Exposed;

static Exposed *shared;

Size
cpm_exposed_size(void)
{
	return add_size(offsetof(Exposed, place), mul_size(cpm_max_pools + 1, sizeof(PlaceBase)));
}

void
cpm_exposed_attach(void *memory, bool is_new)
{
	shared = memory;
	if (is_new)
		memset(shared, 0, cpm_exposed_size());
}

static int
find_database(CpmExposedDatabase *list, int *count, int most, const char *name)
{
	for (int i = 0; i < *count; i++)
		if (strcmp(list[i].name, name) == 0)
			return i;
	if (*count >= most)
		return -1;
	memset(&list[*count], 0, sizeof(list[*count]));
	strlcpy(list[*count].name, name, NAMEDATALEN);
	return (*count)++;
}

void
cpm_exposed_fold(int index, const CpmPoolName *name, uint64 queries, uint64 failed)
{
	PlaceBase  *place = &shared->place[index];
	PlaceBase  *other = &shared->place[CPM_OTHER_POOL];
	int			database = find_database(shared->folded, &shared->databases, MOST_DATABASES, name->database);

	if (database >= 0)
	{
		shared->folded[database].queries += queries - place->queries;
		shared->folded[database].failed += failed - place->failed;
	}
	/* its series ends with what was shown; what it did since then is the others' */
	if (place->is_named)
		shared->moved -= place->shown;
	other->queries += place->queries;
	other->failed += place->failed;
	memset(place, 0, sizeof(*place));
}

void
cpm_exposed_reset(void)
{
	uint64		reads = shared->reads;

	memset(shared, 0, cpm_exposed_size());
	shared->reads = reads + 1;
}

/* Everything since the last reset. */
static void
sum_up(const CpmPoolList *list, CpmExposedTotals *totals)
{
	memset(totals, 0, sizeof(*totals));
	for (int i = 0; i < list->places; i++)
	{
		const CpmPool *pool = &list->pool[i];

		if (!list->is_used[i])
			continue;
		totals->opened += pool->opened;
		for (int end = 0; end < CPM_SESSION_ENDS; end++)
			totals->ended[end] += pool->ended[end];
		totals->session_time_us += pool->session_time_us;
		totals->setup_time_us += pool->setup_time_us;
		for (int count = 0; count < CPM_COUNTS; count++)
			totals->counts.of[count] += pool->counts.of[count];
		cpm_histogram_add(&totals->query_times, &pool->histogram);
	}
	cpm_session_histograms(&totals->setup_times, &totals->session_times);
	for (int i = 0; i < CPM_REFUSALS; i++)
		totals->refused[i] = cpm_refusals_count(i).count;
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
		totals->error[i] = cpm_errors_get(i).errors;
	for (int kind = CPM_NO_LEAK + 1; kind < CPM_LEAK_KINDS; kind++)
		totals->leaks += cpm_leak_counts(kind).detected;
}

/* Totals are made of nothing but counters. */
static void
subtract_base(CpmExposedTotals *totals)
{
	uint64	   *counter = (uint64 *) totals;
	const uint64 *base = (const uint64 *) &shared->base;

	StaticAssertStmt(sizeof(CpmExposedTotals) % sizeof(uint64) == 0, "totals are counters");
	for (size_t i = 0; i < sizeof(CpmExposedTotals) / sizeof(uint64); i++)
		counter[i] -= Min(counter[i], base[i]);
}

static uint64
above(uint64 count, uint64 base)
{
	return count - Min(count, base);
}

/* The pool with the most statements that is named, or the one with the fewest; -1 for none. */
static int
extreme_pool(const CpmExposed *exposed, bool is_named)
{
	int			found = -1;

	for (int i = CPM_OTHER_POOL + 1; i < exposed->pools.places; i++)
	{
		if (!exposed->pools.is_used[i] || shared->place[i].is_named != is_named ||
			cpm_exposed_is_other(&exposed->pools.pool[i].name))
			continue;
		if (found < 0 || (is_named ? exposed->queries[i] < exposed->queries[found] :
						  exposed->queries[i] > exposed->queries[found]))
			found = i;
	}
	return found;
}

/* The largest pools get names; who has one keeps it until a larger one needs the place. */
static void
choose_pools(CpmExposed *exposed)
{
	int			named = 0;

	for (int i = 0; i < exposed->pools.places; i++)
	{
		/* nobody knows yet who had a name */
		shared->place[i].is_named &= shared->was_read;
		named += shared->place[i].is_named;
	}
	for (;;)
	{
		int			largest = extreme_pool(exposed, false);
		int			smallest = named >= CPM_EXPOSED_POOLS ? extreme_pool(exposed, true) : -1;

		if (largest < 0 || (smallest >= 0 && exposed->queries[smallest] >= exposed->queries[largest]))
			break;
		if (smallest >= 0)
		{
			shared->place[smallest].is_named = false;
			shared->moved -= shared->place[smallest].shown;
			named--;
		}
		shared->place[largest].is_named = true;
		shared->moved += exposed->queries[largest];
		named++;
	}
	if (!shared->was_read)
		shared->moved = 0;
	shared->was_read = true;
}

bool
cpm_exposed_is_other(const CpmPoolName *name)
{
	return strcmp(name->database, CPM_EXPOSED_OTHER) == 0 && strcmp(name->role, CPM_EXPOSED_OTHER) == 0 &&
		strcmp(name->application_name, CPM_EXPOSED_OTHER) == 0;
}

void
cpm_exposed_pool_came(int index, const CpmPoolName *name)
{
	bool		is_early = (uint64) cpm_pools_used() + cpm_pools_folded() < CPM_EXPOSED_POOLS;

	shared->place[index].is_named = is_early && !cpm_exposed_is_other(name);
}

static void
add_database(CpmExposed *exposed, int most, const char *name, uint64 queries, uint64 failed)
{
	/* a database may be called as none that is known is */
	const char *known = strcmp(name, CPM_EXPOSED_NO_DATABASE) == 0 ? "" : name;
	CpmExposedDatabase *database = &exposed->database[find_database(exposed->database, &exposed->databases, most, known)];

	database->queries += queries;
	database->failed += failed;
}

/* By database; what is in "(other)" and not of a pool that was folded is of none that is known. */
static void
sum_databases(CpmExposed *exposed, const Folded *folded)
{
	const uint64 *counts = exposed->pools.pool[CPM_OTHER_POOL].counts.of;
	uint64		queries = above(counts[CPM_QUERIES], folded->other.queries);
	uint64		failed = above(counts[CPM_FAILED_QUERIES], folded->other.failed);
	int			most = exposed->pools.places + MOST_DATABASES;

	exposed->database = palloc0(most * sizeof(CpmExposedDatabase));
	for (int i = CPM_OTHER_POOL + 1; i < exposed->pools.places; i++)
		if (exposed->pools.is_used[i])
			add_database(exposed, most, exposed->pools.pool[i].name.database, exposed->queries[i], folded->failed[i]);
	for (int i = 0; i < folded->databases; i++)
	{
		const CpmExposedDatabase *database = &folded->database[i];

		add_database(exposed, most, database->name, database->queries, database->failed);
		queries = above(queries, database->queries);
		failed = above(failed, database->failed);
	}
	if (queries > 0 || failed > 0)
		add_database(exposed, most, "", queries, failed);
}

/* The lock is held, and no pool was folded since they were read. */
static void
add_memory(CpmExposed *exposed, Folded *folded)
{
	subtract_base(&exposed->totals);
	for (int i = 0; i < exposed->pools.places; i++)
	{
		const uint64 *counts = exposed->pools.pool[i].counts.of;

		if (!exposed->pools.is_used[i])
			continue;
		exposed->queries[i] = above(counts[CPM_QUERIES], shared->place[i].queries);
		folded->failed[i] = above(counts[CPM_FAILED_QUERIES], shared->place[i].failed);
	}
	choose_pools(exposed);
	exposed->other_queries = shared->moved;
	for (int i = 0; i < exposed->pools.places; i++)
	{
		exposed->is_named[i] = shared->place[i].is_named;
		if (exposed->is_named[i])
			shared->place[i].shown = exposed->queries[i];
		else
			exposed->other_queries += exposed->queries[i];
	}
	folded->databases = shared->databases;
	memcpy(folded->database, shared->folded, sizeof(folded->database));
	folded->other = shared->place[CPM_OTHER_POOL];
}

/*
 * Read all totals, then take the lock. Returns false if a pool was folded, a reset happened or
 * another read completed before the lock was taken; the caller retries. After another read,
 * our totals may be the older ones: a pool that we then begin to name would be subtracted from
 * the sum of the others with a count lower than was already shown, and that sum would fall.
 */
static bool
read_and_lock(CpmExposed *exposed)
{
	uint64		folded = cpm_pools_folded();
	uint64		reads = shared->reads;

	exposed->pools = cpm_pool_totals();
	sum_up(&exposed->pools, &exposed->totals);
	LWLockAcquire(cpm_pools_lock(), LW_EXCLUSIVE);
	return folded == cpm_pools_folded() && reads == shared->reads;
}

CpmExposed *
cpm_exposed_read(void)
{
	CpmExposed *exposed = palloc0(sizeof(CpmExposed));
	Folded	   *folded = palloc0(sizeof(Folded));
	bool		is_one_moment = read_and_lock(exposed);

	for (int tries = 0; !is_one_moment && tries < MOST_TRIES; tries++)
	{
		LWLockRelease(cpm_pools_lock());
		is_one_moment = read_and_lock(exposed);
	}
	if (!is_one_moment)
	{
		/* one is folded all the time: look while none can be */
		exposed->pools = cpm_pool_totals_in_haste();
		sum_up(&exposed->pools, &exposed->totals);
	}
	exposed->is_named = palloc0(exposed->pools.places * sizeof(bool));
	exposed->queries = palloc0(exposed->pools.places * sizeof(uint64));
	folded->failed = palloc0(exposed->pools.places * sizeof(uint64));
	add_memory(exposed, folded);
	shared->reads++;
	LWLockRelease(cpm_pools_lock());
	sum_databases(exposed, folded);
	return exposed;
}

bool
cpm_exposed_is_named(int index)
{
	return shared->place[index].is_named;
}

void
cpm_exposed_load_named(int index, bool is_named, uint64 queries)
{
	shared->place[index].shown = queries;
	shared->place[index].is_named = is_named && index != CPM_OTHER_POOL;
}

void
cpm_exposed_save(CpmSink *sink)
{
	cpm_put_mark(sink, sizeof(CpmExposedDatabase));
	cpm_put_u64(sink, shared->moved);
	for (int i = 0; i < shared->databases; i++)
	{
		cpm_put_another(sink, true);
		cpm_put(sink, &shared->folded[i], sizeof(shared->folded[i]));
	}
	cpm_put_another(sink, false);
}

bool
cpm_exposed_load(CpmSource *source)
{
	uint64		moved;

	if (!cpm_get_mark(source, sizeof(CpmExposedDatabase)))
		return false;
	moved = cpm_get_u64(source);
	if (!source->rehearsal)
	{
		shared->moved = moved;
		shared->was_read = true;
	}
	while (cpm_get_another(source))
	{
		CpmExposedDatabase database;

		if (!cpm_get(source, &database, sizeof(database)) || source->rehearsal ||
			shared->databases >= MOST_DATABASES)
			continue;
		database.name[NAMEDATALEN - 1] = '\0';
		shared->folded[shared->databases++] = database;
	}
	return !source->failed;
}

void
cpm_exposed_begin_anew(void)
{
	CpmPoolList list = cpm_pool_totals();

	cpm_exposed_reset();
	sum_up(&list, &shared->base);
	for (int i = 0; i < list.places; i++)
	{
		if (!list.is_used[i])
			continue;
		shared->place[i].queries = list.pool[i].counts.of[CPM_QUERIES];
		shared->place[i].failed = list.pool[i].counts.of[CPM_FAILED_QUERIES];
	}
	for (size_t i = 0; i < sizeof(shared->base) / sizeof(uint64); i++)
		shared->began_anew |= ((const uint64 *) &shared->base)[i] != 0;
	pfree(list.is_used);
	pfree(list.pool);
}

bool
cpm_exposed_began_anew(void)
{
	return shared->began_anew;
}
