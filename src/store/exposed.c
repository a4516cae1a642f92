/*
 * exposed.c
 *		Counters that never fall while the server runs, for those who compute rates
 *		from them.
 *
 * Pools can be folded, and only the largest are named: without memory, the
 * counter of a database would fall when a pool of it is folded, and that of all
 * other pools whenever one changes sides. So folded pools are kept by their
 * database, and what changed sides stays where it was counted: in `moved`, which
 * is added to the others. The series of a pool begins at zero when the pool is
 * named, so all series together have each statement once.
 *
 * Clients choose names, and each new name is a new series. So a pool is named only
 * after it has lasted (CPM_EXPOSED_LASTING), and after the first twenty at most one
 * in CPM_EXPOSED_PERIOD samples is: in the place of a pool that was unused for so
 * long, or did less than half of what the new one did.
 *
 * A reset begins anew, and so does a start after a crash: from the base, which
 * is what was loaded then. All of it is guarded by the lock of store/pools, under
 * which pools are folded.
 */
#include "postgres.h"

#include "base/histogram.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
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
	uint64		hidden;			/* of its statements: those from before it was named */
	uint64		shown;			/* the same: all that there were when its series was read last */
	uint64		marked_queries; /* the same, at the mark */
	uint64		marked_sessions;	/* of CpmPoolUse, at the mark */
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
	uint32		entered;		/* how many pools were named, up to CPM_EXPOSED_POOLS */
	uint64		replaced_at;	/* number of the sample at which another pool was named last */
	uint64		marked_at;		/* and at which the marks were set, from which pools are compared */
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
	shared->reads++;
	shared->began_anew = false;
	shared->moved = 0;
	shared->databases = 0;
	memset(&shared->base, 0, sizeof(shared->base));
	for (int i = 0; i <= cpm_max_pools; i++)
	{
		PlaceBase  *place = &shared->place[i];

		place->queries = place->failed = 0;
		place->hidden = place->shown = place->marked_queries = 0;
	}
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

/* What pools did since the mark: the share of all sessions of each, and of all statements. */
static double *
measure_pools(const CpmExposed *exposed)
{
	int			places = exposed->pools.places;
	double	   *size = palloc0(places * sizeof(double));
	double		sessions = 0;
	double		queries = 0;

	for (int i = 0; i < places; i++)
	{
		sessions += (double) above(exposed->use[i].sessions, shared->place[i].marked_sessions);
		queries += (double) above(exposed->queries[i], shared->place[i].marked_queries);
	}
	for (int i = 0; i < places; i++)
	{
		const PlaceBase *place = &shared->place[i];

		size[i] = above(exposed->use[i].sessions, place->marked_sessions) / Max(sessions, 1) +
			above(exposed->queries[i], place->marked_queries) / Max(queries, 1);
	}
	return size;
}

static void
mark_pools(const CpmExposed *exposed, uint64 sample)
{
	for (int i = 0; i < exposed->pools.places; i++)
	{
		shared->place[i].marked_sessions = exposed->use[i].sessions;
		shared->place[i].marked_queries = exposed->queries[i];
	}
	shared->marked_at = sample;
}

/* The largest pool that has lasted, is in use and is not named; -1 for none. */
static int
largest_unnamed(const CpmExposed *exposed, const double *size, uint64 sample)
{
	int			found = -1;

	for (int i = CPM_OTHER_POOL + 1; i < exposed->pools.places; i++)
		if (exposed->pools.is_used[i] && !shared->place[i].is_named &&
			exposed->use[i].samples >= CPM_EXPOSED_LASTING &&
			above(sample, exposed->use[i].last_used) < CPM_EXPOSED_PERIOD &&
			(found < 0 || size[i] > size[found]) &&
			!cpm_exposed_is_other(&exposed->pools.pool[i].name))
			found = i;
	return found;
}

/* The named pool that gives its place to another one of that size; -1 for none. */
static int
pool_to_replace(const CpmExposed *exposed, const double *size, uint64 sample, double other_size)
{
	int			unused = -1;
	int			smallest = -1;

	for (int i = CPM_OTHER_POOL + 1; i < exposed->pools.places; i++)
	{
		if (!shared->place[i].is_named)
			continue;
		if (unused < 0 || exposed->use[i].last_used < exposed->use[unused].last_used)
			unused = i;
		if (smallest < 0 || size[i] < size[smallest])
			smallest = i;
	}
	if (above(sample, exposed->use[unused].last_used) >= CPM_EXPOSED_PERIOD)
		return unused;
	if (above(sample, shared->marked_at) >= CPM_EXPOSED_PERIOD && size[smallest] < other_size / 2)
		return smallest;
	return -1;
}

static void
name_pool(const CpmExposed *exposed, int index)
{
	PlaceBase  *place = &shared->place[index];

	place->is_named = true;
	place->hidden = exposed->queries[index];
	shared->moved += place->hidden;
}

static void
unname_pool(int index)
{
	shared->place[index].is_named = false;
	shared->moved -= shared->place[index].shown;
}

/* Name one more pool, if there is one to be named and a place for it. */
static void
replace_pool(const CpmExposed *exposed, const double *size, uint64 sample)
{
	int			enters = largest_unnamed(exposed, size, sample);
	int			named = 0;

	for (int i = 0; i < exposed->pools.places; i++)
		named += shared->place[i].is_named;
	if (enters >= 0 && named >= CPM_EXPOSED_POOLS)
	{
		int			leaves = pool_to_replace(exposed, size, sample, size[enters]);

		if (leaves < 0)
			return;
		unname_pool(leaves);
	}
	if (enters < 0)
		return;
	name_pool(exposed, enters);
	shared->replaced_at = sample;
}

/* Each pool that lasts is named until there were twenty; then one at a time, slowly. */
static void
choose_pools(const CpmExposed *exposed)
{
	uint64		sample = cpm_busy_times_samples();
	double	   *size = measure_pools(exposed);
	int			enters;

	while (shared->entered < CPM_EXPOSED_POOLS &&
		   (enters = largest_unnamed(exposed, size, sample)) >= 0)
	{
		name_pool(exposed, enters);
		shared->entered++;
	}
	if (above(sample, shared->replaced_at) >= CPM_EXPOSED_PERIOD)
		replace_pool(exposed, size, sample);
	if (above(sample, shared->marked_at) >= CPM_EXPOSED_PERIOD)
		mark_pools(exposed, sample);
	pfree(size);
}

bool
cpm_exposed_is_other(const CpmPoolName *name)
{
	return strcmp(name->database, CPM_EXPOSED_OTHER) == 0 && strcmp(name->role, CPM_EXPOSED_OTHER) == 0 &&
		strcmp(name->application_name, CPM_EXPOSED_OTHER) == 0;
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
		{
			exposed->named_queries[i] = above(exposed->queries[i], shared->place[i].hidden);
			shared->place[i].shown = exposed->queries[i];
		}
		else
			exposed->other_queries += exposed->queries[i];
	}
	folded->databases = shared->databases;
	memcpy(folded->database, shared->folded, sizeof(folded->database));
	folded->other = shared->place[CPM_OTHER_POOL];
}

static void
read_pools(CpmExposed *exposed, CpmPoolList pools)
{
	exposed->pools = pools;
	sum_up(&exposed->pools, &exposed->totals);
	for (int i = 0; i < pools.places; i++)
		exposed->use[i] = cpm_busy_times_use(i);
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

	read_pools(exposed, cpm_pool_totals());
	LWLockAcquire(cpm_pools_lock(), LW_EXCLUSIVE);
	return folded == cpm_pools_folded() && reads == shared->reads;
}

CpmExposed *
cpm_exposed_read(void)
{
	CpmExposed *exposed = palloc0(sizeof(CpmExposed));
	Folded	   *folded = palloc0(sizeof(Folded));
	int			places = cpm_pools_places();
	bool		is_one_moment;

	exposed->use = palloc(places * sizeof(CpmPoolUse));
	exposed->is_named = palloc0(places * sizeof(bool));
	exposed->queries = palloc0(places * sizeof(uint64));
	exposed->named_queries = palloc0(places * sizeof(uint64));
	folded->failed = palloc0(places * sizeof(uint64));
	is_one_moment = read_and_lock(exposed);
	for (int tries = 0; !is_one_moment && tries < MOST_TRIES; tries++)
	{
		LWLockRelease(cpm_pools_lock());
		is_one_moment = read_and_lock(exposed);
	}
	if (!is_one_moment)
	{
		/* one is folded all the time: look while none can be */
		read_pools(exposed, cpm_pool_totals_in_haste());
	}
	add_memory(exposed, folded);
	shared->reads++;
	LWLockRelease(cpm_pools_lock());
	sum_databases(exposed, folded);
	return exposed;
}

void
cpm_exposed_save_place(CpmSink *sink, int index)
{
	cpm_put_u64(sink, shared->place[index].is_named);
	cpm_put_u64(sink, shared->place[index].hidden);
}

CpmExposedPlace
cpm_exposed_read_place(CpmSource *source)
{
	CpmExposedPlace saved;

	saved.is_named = cpm_get_u64(source) != 0;
	saved.hidden = cpm_get_u64(source);
	return saved;
}

void
cpm_exposed_load_place(int index, const CpmExposedPlace *saved, uint64 queries)
{
	PlaceBase  *place = &shared->place[index];

	place->marked_queries = queries;
	if (saved->is_named && index == CPM_OTHER_POOL)
		shared->moved -= queries;	/* max_pools is lower than it was: its series has ended */
	else if (saved->is_named)
	{
		place->is_named = true;
		place->hidden = saved->hidden;
		place->shown = queries;
	}
}

void
cpm_exposed_save(CpmSink *sink)
{
	cpm_put_mark(sink, sizeof(CpmExposedDatabase));
	cpm_put_u64(sink, shared->moved);
	cpm_put_u64(sink, shared->entered);
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
	uint64		entered;

	if (!cpm_get_mark(source, sizeof(CpmExposedDatabase)))
		return false;
	moved = cpm_get_u64(source);
	entered = cpm_get_u64(source);
	if (!source->rehearsal)
	{
		shared->moved = moved;
		shared->entered = (uint32) Min(entered, CPM_EXPOSED_POOLS);
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
