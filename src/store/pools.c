/* SPDX-License-Identifier: PostgreSQL */
/*
 * pools.c
 *		The pools that are known, and what sessions have added to each.
 *
 * A table of max_pools places, and one more for "(other)". What a session has
 * counted stays in its slot (store/slots) and is added here, by atomics, when
 * it leaves the pool: at its end or when its application_name changes.
 *
 * A pool's name is found through a hash table under a lock: by a session that
 * opens, or comes to a pool it has not been in lately. One that comes back
 * needs no lock: it adds itself to the pool's state, which holds the number of
 * connections and a generation in one atomic, and sees in the same step
 * whether the pool is still what it was. A pool is folded by exchanging that
 * state from no connection to the next generation, which fails as soon as
 * somebody has come in.
 *
 * When all places are taken, a new pool gets the place of one without a session
 * (store/pool_owners chooses it), whose counts go to "(other)". When it finds none,
 * the new session is counted in "(other)".
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "store/exposed.h"
#include "store/moves.h"
#include "store/pool_owners.h"
#include "store/pools.h"

/* What only grows: the parts of a CpmPool that are summed. */
typedef struct PoolCounters
{
	pg_atomic_uint64 count[CPM_COUNTS];
	pg_atomic_uint64 opened;
	pg_atomic_uint64 ended[CPM_SESSION_ENDS];
	pg_atomic_uint64 session_time_us;
	pg_atomic_uint64 setup_time_us;
	pg_atomic_uint64 feature[CPM_FEATURES];
	pg_atomic_uint64 bucket[CPM_BUCKETS];
} PoolCounters;

#define OTHER "(other)"

#define COUNTERS_OF(counters) ((pg_atomic_uint64 *) (counters))
#define COUNTERS_IN_POOL ((int) (sizeof(PoolCounters) / sizeof(pg_atomic_uint64)))

typedef struct PoolPlace
{
	CpmPoolName name;			/* changed under the lock, between two moves */
	pg_atomic_uint32 is_used;
	pg_atomic_uint64 state;		/* generation << 32 | connections */
	pg_atomic_uint64 peak;		/* epoch << 32 | connections; raised by who comes in */
	pg_atomic_uint64 peak_busy; /* epoch << 32 | sessions; the sampler */
	pg_atomic_uint64 last_left; /* a TimestampTz: when it was last left */
	pg_atomic_uint64 last_opened;	/* another: when a session last opened in it */
	pg_atomic_uint64 feature_seen[CPM_FEATURES];	/* and others; 0 never */
	pg_atomic_uint64 octaves;	/* of buckets that are not all zero, in either of these: a bit each */
	pg_atomic_uint32 has_baseline;
	PoolCounters total;			/* sessions add as they leave */
	PoolCounters baseline;		/* a reset writes, and a fold, under the lock */
} PoolPlace;

typedef struct Pools
{
	pg_atomic_uint32 epoch;		/* of peaks; a reset adds one */
	pg_atomic_uint64 folded;
	pg_atomic_uint32 used;
	int			places;			/* set at start */
	int			next_free;		/* where a search for a free place begins, less one; under the lock */
	LWLock	   *lock;			/* set at start: a process that attaches cannot look it up */
	PoolPlace	place[FLEXIBLE_ARRAY_MEMBER];
} Pools;

typedef struct IndexEntry
{
	CpmPoolName name;			/* hash key */
	int			index;
} IndexEntry;

static Pools *pools;
static HTAB *by_name;
static LWLock *lock;

static Size
table_size(void)
{
	return add_size(offsetof(Pools, place), mul_size(cpm_max_pools + 1, sizeof(PoolPlace)));
}

Size
cpm_pools_size(void)
{
	return table_size();
}

Size
cpm_pools_names_size(void)
{
	return hash_estimate_size(cpm_max_pools + 1, sizeof(IndexEntry));
}

LWLock *
cpm_pools_lock(void)
{
	return lock;
}

static void
init_counters(PoolCounters *counters)
{
	for (int i = 0; i < COUNTERS_IN_POOL; i++)
		pg_atomic_init_u64(&COUNTERS_OF(counters)[i], 0);
}

static void
init_place(PoolPlace *place)
{
	memset(&place->name, 0, sizeof(place->name));
	pg_atomic_init_u32(&place->is_used, 0);
	pg_atomic_init_u64(&place->state, 0);
	pg_atomic_init_u64(&place->peak, 0);
	pg_atomic_init_u64(&place->peak_busy, 0);
	pg_atomic_init_u64(&place->last_left, 0);
	pg_atomic_init_u64(&place->last_opened, 0);
	for (int i = 0; i < CPM_FEATURES; i++)
		pg_atomic_init_u64(&place->feature_seen[i], 0);
	pg_atomic_init_u64(&place->octaves, 0);
	pg_atomic_init_u32(&place->has_baseline, 0);
	init_counters(&place->total);
	init_counters(&place->baseline);
}

static void
init_table(void)
{
	CpmPoolName *other = &pools->place[CPM_OTHER_POOL].name;

	pools->lock = &GetNamedLWLockTranche(CPM_POOLS_LOCK)->lock;
	pg_atomic_init_u32(&pools->epoch, 1);
	pg_atomic_init_u64(&pools->folded, 0);
	pg_atomic_init_u32(&pools->used, 0);
	pools->places = cpm_max_pools + 1;
	pools->next_free = 0;
	for (int i = 0; i < pools->places; i++)
		pg_atomic_init_u32(&pools->place[i].is_used, 0);
	for (int i = 0; i < pools->places; i++)
		pg_atomic_init_u64(&pools->place[i].state, 0);

	init_place(&pools->place[CPM_OTHER_POOL]);
	strlcpy(other->database, OTHER, NAMEDATALEN);
	strlcpy(other->role, OTHER, NAMEDATALEN);
	strlcpy(other->application_name, OTHER, NAMEDATALEN);
	pg_atomic_write_u32(&pools->place[CPM_OTHER_POOL].is_used, 1);
}

void
cpm_pools_attach(void *memory, bool is_new)
{
	HASHCTL		control = {.keysize = sizeof(CpmPoolName), .entrysize = sizeof(IndexEntry)};

	pools = memory;
	if (is_new)
		init_table();
	by_name = cpm_shmem_hash("connpool_monitor pool names", cpm_max_pools + 1, &control,
							 HASH_ELEM | HASH_BLOBS);
	lock = pools->lock;
}

int
cpm_pools_places(void)
{
	return pools->places;
}

/* Raise a peak of the running epoch; one of an earlier epoch starts anew. */
static void
raise_peak(pg_atomic_uint64 *peak, uint32 value)
{
	uint64		raised = (uint64) pg_atomic_read_u32(&pools->epoch) << 32 | value;
	uint64		current = pg_atomic_read_u64(peak);

	while ((current >> 32) != (raised >> 32) || current < raised)
		if (pg_atomic_compare_exchange_u64(peak, &current, raised))
			break;
}

static uint32
peak_value(pg_atomic_uint64 *peak)
{
	uint64		current = pg_atomic_read_u64(peak);

	return (current >> 32) == pg_atomic_read_u32(&pools->epoch) ? (uint32) current : 0;
}

bool
cpm_pool_enter(CpmPoolRef ref)
{
	PoolPlace  *place = &pools->place[ref.index];
	uint64		before = pg_atomic_fetch_add_u64(&place->state, 1);

	if ((uint32) (before >> 32) != ref.generation)
	{
		pg_atomic_fetch_sub_u64(&place->state, 1);
		return false;
	}
	raise_peak(&place->peak, (uint32) before + 1);
	return true;
}

void
cpm_pool_leave(int index, TimestampTz now)
{
	pg_atomic_write_u64(&pools->place[index].last_left, (uint64) now);
	pg_atomic_fetch_sub_u64(&pools->place[index].state, 1);
}

/* The pool at a place as it is now. While the lock is held it stays that. */
static CpmPoolRef
ref_of(int index)
{
	CpmPoolRef	ref = {
		.index = index,
		.generation = (uint32) (pg_atomic_read_u64(&pools->place[index].state) >> 32),
	};

	return ref;
}

static bool
is_unused(int index, uint64 *last_used)
{
	PoolPlace  *place = &pools->place[index];

	*last_used = pg_atomic_read_u64(&place->last_left);
	return (uint32) pg_atomic_read_u64(&place->state) == 0;
}

static void
move_counters(PoolCounters *from, PoolCounters *to)
{
	for (int i = 0; i < COUNTERS_IN_POOL; i++)
	{
		uint64		amount = pg_atomic_read_u64(&COUNTERS_OF(from)[i]);

		if (amount != 0)
			pg_atomic_fetch_add_u64(&COUNTERS_OF(to)[i], amount);
		pg_atomic_write_u64(&COUNTERS_OF(from)[i], 0);
	}
}

/* A moment is raised by who sees a later one. */
static void
raise_moment(pg_atomic_uint64 *moment, uint64 raised)
{
	uint64		current = pg_atomic_read_u64(moment);

	while (current < raised && !pg_atomic_compare_exchange_u64(moment, &current, raised))
		;
}

/* What is no count and no peak: "(other)" has no newest session. */
static void
forget_rest(PoolPlace *place, PoolPlace *other)
{
	for (int i = 0; i < CPM_FEATURES; i++)
	{
		raise_moment(&other->feature_seen[i], pg_atomic_read_u64(&place->feature_seen[i]));
		pg_atomic_write_u64(&place->feature_seen[i], 0);
	}
	pg_atomic_write_u64(&place->last_opened, 0);
}

/* Since the last reset, of a pool without sessions. */
static uint64
counted(PoolPlace *place, CpmCount count)
{
	return pg_atomic_read_u64(&place->total.count[count]) - pg_atomic_read_u64(&place->baseline.count[count]);
}

/* Give a pool's counts to "(other)" and free its place. False when somebody came in. */
static bool
fold(int index)
{
	PoolPlace  *place = &pools->place[index];
	PoolPlace  *other = &pools->place[CPM_OTHER_POOL];
	uint64		empty = pg_atomic_read_u64(&place->state) & ~(uint64) PG_UINT32_MAX;

	if (!pg_atomic_compare_exchange_u64(&place->state, &empty, empty + (UINT64CONST(1) << 32)))
		return false;
	cpm_move_begin();
	hash_search(by_name, &place->name, HASH_REMOVE, NULL);
	cpm_exposed_fold(index, &place->name, counted(place, CPM_QUERIES), counted(place, CPM_FAILED_QUERIES));
	move_counters(&place->total, &other->total);
	move_counters(&place->baseline, &other->baseline);
	pg_atomic_fetch_or_u64(&other->octaves, pg_atomic_exchange_u64(&place->octaves, 0));
	if (pg_atomic_exchange_u32(&place->has_baseline, 0) != 0)
		pg_atomic_write_u32(&other->has_baseline, 1);
	raise_peak(&other->peak, peak_value(&place->peak));
	raise_peak(&other->peak_busy, peak_value(&place->peak_busy));
	forget_rest(place, other);
	cpm_pool_owner_remove(index);
	pg_atomic_write_u32(&place->is_used, 0);
	pg_atomic_write_u64(&place->peak, 0);
	pg_atomic_write_u64(&place->peak_busy, 0);
	pg_atomic_fetch_sub_u32(&pools->used, 1);
	pg_atomic_fetch_add_u64(&pools->folded, 1);
	cpm_move_end();
	return true;
}

static bool
is_other(const CpmPoolName *name)
{
	return strcmp(name->database, OTHER) == 0 && strcmp(name->role, OTHER) == 0 &&
		strcmp(name->application_name, OTHER) == 0;
}

/* A place for a new pool; -1 when there is none. Places fill in order, so the next one is free. */
static int
free_place(void)
{
	int			most = pools->places - 1;
	int			index;

	for (int i = 0; i < most && pg_atomic_read_u32(&pools->used) < (uint32) most; i++)
	{
		index = CPM_OTHER_POOL + 1 + pools->next_free;
		pools->next_free = (pools->next_free + 1) % most;
		if (pg_atomic_read_u32(&pools->place[index].is_used) == 0)
			return index;
	}
	do
		index = cpm_pool_to_evict(is_unused);
	while (index >= 0 && !fold(index));
	return index;
}

/* The place of the pool of that name, made if need be. The lock is held exclusively. */
static int
find_or_create(const CpmPoolName *name)
{
	IndexEntry *entry = hash_search(by_name, name, HASH_FIND, NULL);
	int			index;

	if (entry)
		return entry->index;
	/* a user's pool with the name of "(other)" is merged into it: no two rows have one name */
	if (is_other(name))
		return CPM_OTHER_POOL;
	index = free_place();
	if (index >= 0)
		entry = hash_search(by_name, name, HASH_ENTER_NULL, NULL);
	if (entry == NULL)
	{
		pg_atomic_fetch_add_u64(&pools->folded, 1);
		return CPM_OTHER_POOL;
	}
	entry->index = index;
	pools->place[index].name = *name;
	cpm_exposed_pool_came(index, name);
	cpm_pool_owner_add(index, name);
	pg_write_barrier();
	pg_atomic_write_u32(&pools->place[index].is_used, 1);
	pg_atomic_fetch_add_u32(&pools->used, 1);
	return index;
}

CpmPoolRef
cpm_pool_lock_and_find(const CpmPoolName *name)
{
	IndexEntry *entry;

	LWLockAcquire(lock, LW_SHARED);
	entry = hash_search(by_name, name, HASH_FIND, NULL);
	if (entry != NULL)
		return ref_of(entry->index);
	LWLockRelease(lock);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	return ref_of(find_or_create(name));
}

void
cpm_pool_add(int index, CpmCount count, uint64 amount)
{
	pg_atomic_fetch_add_u64(&pools->place[index].total.count[count], amount);
}

/* Readers look at octaves only that have anything. */
static void
note_octave(PoolPlace *place, int bucket)
{
	uint64		octave = UINT64CONST(1) << (bucket / CPM_SUB_BUCKETS);

	if ((pg_atomic_read_u64(&place->octaves) & octave) == 0)
		pg_atomic_fetch_or_u64(&place->octaves, octave);
}

void
cpm_pool_add_bucket(int index, int bucket, uint64 amount)
{
	note_octave(&pools->place[index], bucket);
	pg_atomic_fetch_add_u64(&pools->place[index].total.bucket[bucket], amount);
}

void
cpm_pool_add_opened(int index, uint64 setup_time_us, TimestampTz now)
{
	PoolCounters *total = &pools->place[index].total;

	raise_moment(&pools->place[index].last_opened, (uint64) now);
	pg_atomic_fetch_add_u64(&total->opened, 1);
	pg_atomic_fetch_add_u64(&total->setup_time_us, setup_time_us);
}

void
cpm_pool_add_ended(int index, CpmSessionEnd how, uint64 session_time_us)
{
	PoolCounters *total = &pools->place[index].total;

	pg_atomic_fetch_add_u64(&total->ended[how], 1);
	pg_atomic_fetch_add_u64(&total->session_time_us, session_time_us);
}

void
cpm_pool_add_feature(int index, CpmFeature feature, uint64 uses, TimestampTz now)
{
	pg_atomic_fetch_add_u64(&pools->place[index].total.feature[feature], uses);
	raise_moment(&pools->place[index].feature_seen[feature], (uint64) now);
}

TimestampTz
cpm_pool_last_opened(int index)
{
	return (TimestampTz) pg_atomic_read_u64(&pools->place[index].last_opened);
}

bool
cpm_pool_generation(int index, uint32 *generation, uint32 *connections)
{
	uint64		state = pg_atomic_read_u64(&pools->place[index].state);

	*generation = (uint32) (state >> 32);
	*connections = (uint32) state;
	return pg_atomic_read_u32(&pools->place[index].is_used) != 0;
}

void
cpm_pool_note_busy(int index, uint32 busy)
{
	raise_peak(&pools->place[index].peak_busy, busy);
}

static void
copy_counters(PoolCounters *counters, uint64 octaves, CpmPool *pool)
{
	for (int i = 0; i < CPM_COUNTS; i++)
		pool->counts.of[i] = pg_atomic_read_u64(&counters->count[i]);
	pool->opened = pg_atomic_read_u64(&counters->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pool->ended[i] = pg_atomic_read_u64(&counters->ended[i]);
	pool->session_time_us = pg_atomic_read_u64(&counters->session_time_us);
	pool->setup_time_us = pg_atomic_read_u64(&counters->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		pool->feature[i] = pg_atomic_read_u64(&counters->feature[i]);
	memset(&pool->histogram, 0, sizeof(pool->histogram));
	for (; octaves != 0; octaves &= octaves - 1)
	{
		int			first = pg_rightmost_one_pos64(octaves) * CPM_SUB_BUCKETS;

		for (int i = first; i < first + CPM_SUB_BUCKETS; i++)
			pool->histogram.count[i] = pg_atomic_read_u64(&counters->bucket[i]);
	}
}

/* What a walk over all pools reads of each, but for its buckets. */
static void
prefetch_place(const PoolPlace *place)
{
	for (size_t i = 0; i < offsetof(PoolPlace, total) + offsetof(PoolCounters, bucket); i += 64)
		cpm_prefetch((const char *) place + i);
}

bool
cpm_pool_copy(int index, CpmPool *pool)
{
	PoolPlace  *place = &pools->place[index];

	if (pg_atomic_read_u32(&place->is_used) == 0)
		return false;
	if (index + 1 < pools->places)
		prefetch_place(&pools->place[index + 1]);
	pg_read_barrier();
	pool->name = place->name;
	pool->connections = (uint32) pg_atomic_read_u64(&place->state);
	pool->peak_connections = Max(peak_value(&place->peak), pool->connections);
	pool->peak_busy = peak_value(&place->peak_busy);
	copy_counters(&place->total, pg_atomic_read_u64(&place->octaves), pool);
	for (int i = 0; i < CPM_FEATURES; i++)
		pool->feature_seen[i] = (TimestampTz) pg_atomic_read_u64(&place->feature_seen[i]);
	(void) cpm_pool_policy(index, &pool->policy);
	return true;
}

uint64
cpm_pool_counts(int index, uint32 *generation, CpmQueryCounts *counts)
{
	PoolPlace  *place = &pools->place[index];
	uint32		connections;

	memset(counts, 0, sizeof(*counts));
	if (!cpm_pool_generation(index, generation, &connections))
		return 0;
	for (int i = 0; i < CPM_COUNTS; i++)
		counts->of[i] = pg_atomic_read_u64(&place->total.count[i]);
	return pg_atomic_read_u64(&place->total.opened);
}

bool
cpm_pool_name(int index, CpmPoolName *name)
{
	if (index < 0 || index >= pools->places || pg_atomic_read_u32(&pools->place[index].is_used) == 0)
		return false;
	pg_read_barrier();
	*name = pools->place[index].name;
	return true;
}

bool
cpm_pool_copy_baseline(int index, CpmPool *baseline)
{
	PoolPlace  *place = &pools->place[index];

	if (pg_atomic_read_u32(&place->has_baseline) == 0)
		return false;
	copy_counters(&place->baseline, pg_atomic_read_u64(&place->octaves), baseline);
	return true;
}

int
cpm_pool_load(const CpmPool *pool)
{
	int			index = find_or_create(&pool->name);
	PoolPlace  *place = &pools->place[index];

	for (int i = 0; i < CPM_COUNTS; i++)
		pg_atomic_fetch_add_u64(&place->total.count[i], pool->counts.of[i]);
	pg_atomic_fetch_add_u64(&place->total.opened, pool->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pg_atomic_fetch_add_u64(&place->total.ended[i], pool->ended[i]);
	pg_atomic_fetch_add_u64(&place->total.session_time_us, pool->session_time_us);
	pg_atomic_fetch_add_u64(&place->total.setup_time_us, pool->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		cpm_pool_add_feature(index, i, pool->feature[i], pool->feature_seen[i]);
	cpm_pool_set_policy(index, &pool->policy, 0);
	for (int i = 0; i < CPM_BUCKETS; i++)
		if (pool->histogram.count[i] != 0)
			cpm_pool_add_bucket(index, i, pool->histogram.count[i]);
	raise_peak(&place->peak, pool->peak_connections);
	raise_peak(&place->peak_busy, pool->peak_busy);
	return index;
}

void
cpm_pools_load_folded(uint64 folded)
{
	pg_atomic_fetch_add_u64(&pools->folded, folded);
}

void
cpm_pool_set_baseline(int index, const CpmPool *pool)
{
	PoolCounters *baseline = &pools->place[index].baseline;

	for (int i = 0; i < CPM_COUNTS; i++)
		pg_atomic_write_u64(&baseline->count[i], pool->counts.of[i]);
	pg_atomic_write_u64(&baseline->opened, pool->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pg_atomic_write_u64(&baseline->ended[i], pool->ended[i]);
	pg_atomic_write_u64(&baseline->session_time_us, pool->session_time_us);
	pg_atomic_write_u64(&baseline->setup_time_us, pool->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		pg_atomic_write_u64(&baseline->feature[i], pool->feature[i]);
	for (int i = 0; i < CPM_BUCKETS; i++)
	{
		if (pool->histogram.count[i] != 0)
			note_octave(&pools->place[index], i);
		pg_atomic_write_u64(&baseline->bucket[i], pool->histogram.count[i]);
	}
	pg_atomic_write_u32(&pools->place[index].has_baseline, 1);
}

void
cpm_pools_reset_peaks(void)
{
	pg_atomic_fetch_add_u32(&pools->epoch, 1);
	for (int i = 0; i < pools->places; i++)
		if (pg_atomic_read_u32(&pools->place[i].is_used) != 0)
			raise_peak(&pools->place[i].peak, (uint32) pg_atomic_read_u64(&pools->place[i].state));
}

int
cpm_pools_used(void)
{
	return pools ? (int) pg_atomic_read_u32(&pools->used) : 0;
}

uint64
cpm_pools_folded(void)
{
	return pools ? pg_atomic_read_u64(&pools->folded) : 0;
}
