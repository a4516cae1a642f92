/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_table.c
 *		The table of pools: lookup by name, membership and eviction.
 *
 * The table has max_pools slots, and one more for "(other)". A hash table, guarded by a lock, maps
 * names to slots. A session takes that lock only when it opens, or changes to a pool that it has
 * not used recently. If no slot is free, a new pool evicts one without sessions, chosen by
 * counters/pool_owners, into "(other)". If all have sessions, the new session counts there.
 *
 * A slot's state holds the generation of its pool and the number of connections in one atomic. The
 * increment by which a session enters also returns the generation. If that differs from the one in
 * the session's reference, another pool occupies the slot, and the session undoes the increment.
 * Eviction increments the generation by a compare-and-exchange that expects no connections, and
 * fails if a session has entered meanwhile. So a session never stays in an evicted pool.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "counters/counter_transfer.h"
#include "counters/pool_counters.h"
#include "counters/pool_owners.h"
#include "counters/pool_policies.h"
#include "counters/pool_retained.h"
#include "counters/pool_table.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#define OTHER "(other)"

typedef struct PoolSlot
{
	CpmPoolName name;			/* written under the lock, while is_used is 0 */
	pg_atomic_uint32 is_used;	/* written under the lock */
	pg_atomic_uint64 state;		/* generation << 32 | connections; sessions and evict() write */
	pg_atomic_uint32 role;		/* CpmPool.role_oid; written under the lock, which may be shared */
	pg_atomic_uint64 last_left_us;	/* by the monotonic clock; each session that leaves writes it */
} PoolSlot;

typedef struct PoolTable
{
	pg_atomic_uint64 evicted;	/* evictions, and lookups that ended in "(other)" because no slot
								 * could be freed */
	pg_atomic_uint32 used;		/* slots in use, without "(other)"; written under the lock */
	int			slots;			/* number of slots; set at startup */
	int			next_free;		/* where the search for a free slot begins, without "(other)";
								 * guarded by the lock */
	LWLock	   *lock;			/* set at startup, because a process that attaches later cannot
								 * look it up by name */
	PoolSlot	slot[FLEXIBLE_ARRAY_MEMBER];
} PoolTable;

/* An entry of the hash table of names. The lock guards the table. */
typedef struct PoolIndexEntry
{
	CpmPoolName name;			/* hash key */
	int			index;
} PoolIndexEntry;

static PoolTable *table;
static HTAB *by_name;
static LWLock *lock;

Size
cpm_pools_size(void)
{
	return add_size(offsetof(PoolTable, slot), mul_size(cpm_max_pools + 1, sizeof(PoolSlot)));
}

Size
cpm_pool_names_size(void)
{
	return hash_estimate_size(cpm_max_pools + 1, sizeof(PoolIndexEntry));
}

LWLock *
cpm_pools_lock(void)
{
	return lock;
}

static void
init_table(void)
{
	CpmPoolName *other = &table->slot[CPM_OTHER_POOL].name;

	table->lock = &GetNamedLWLockTranche(CPM_POOLS_LOCK)->lock;
	pg_atomic_init_u64(&table->evicted, 0);
	pg_atomic_init_u32(&table->used, 0);
	table->slots = cpm_max_pools + 1;
	table->next_free = 0;
	for (int i = 0; i < table->slots; i++)
	{
		pg_atomic_init_u32(&table->slot[i].is_used, 0);
		pg_atomic_init_u64(&table->slot[i].state, 0);
		pg_atomic_init_u32(&table->slot[i].role, InvalidOid);
		pg_atomic_init_u64(&table->slot[i].last_left_us, 0);
	}
	memset(other, 0, sizeof(*other));
	strlcpy(other->database, OTHER, NAMEDATALEN);
	strlcpy(other->role, OTHER, NAMEDATALEN);
	strlcpy(other->application_name, OTHER, NAMEDATALEN);
	pg_atomic_write_u32(&table->slot[CPM_OTHER_POOL].is_used, 1);
}

void
cpm_pools_attach(void *memory, bool is_new)
{
	HASHCTL		control = {.keysize = sizeof(CpmPoolName), .entrysize = sizeof(PoolIndexEntry)};

	table = memory;
	if (is_new)
		init_table();
	by_name = cpm_shmem_hash("connpool_monitor pool names", cpm_max_pools + 1, &control,
							 HASH_ELEM | HASH_BLOBS);
	lock = table->lock;
}

int
cpm_pool_slots(void)
{
	return table->slots;
}

bool
cpm_pool_enter(CpmPoolRef ref)
{
	pg_atomic_uint64 *state = &table->slot[ref.index].state;
	uint64		before = pg_atomic_fetch_add_u64(state, 1);

	if ((uint32) (before >> 32) != ref.generation)
	{
		pg_atomic_fetch_sub_u64(state, 1);
		return false;
	}
	cpm_pool_raise_peak(ref.index, (uint32) before + 1);
	return true;
}

void
cpm_pool_leave(int index)
{
	pg_atomic_write_u64(&table->slot[index].last_left_us, (uint64) cpm_monotonic_us());
	pg_atomic_fetch_sub_u64(&table->slot[index].state, 1);
}

/* Return a reference to the pool in a slot. It stays valid while the caller holds the lock. */
static CpmPoolRef
ref_of(int index)
{
	CpmPoolRef	ref = {
		.index = index,
		.generation = (uint32) (pg_atomic_read_u64(&table->slot[index].state) >> 32),
	};

	return ref;
}

/* Return true if the pool has no session; for cpm_pool_to_evict(). */
static bool
is_unused(int index, uint64 *last_used)
{
	PoolSlot   *slot = &table->slot[index];

	*last_used = pg_atomic_read_u64(&slot->last_left_us);
	return (uint32) pg_atomic_read_u64(&slot->state) == 0;
}

/*
 * Free the slot of a pool and add its counters to "(other)". Returns false if a session has
 * entered the pool. Lock held exclusively.
 */
static bool
evict(int index)
{
	PoolSlot   *slot = &table->slot[index];
	uint64		empty = pg_atomic_read_u64(&slot->state) & ~(uint64) PG_UINT32_MAX;

	if (!pg_atomic_compare_exchange_u64(&slot->state, &empty, empty + (UINT64CONST(1) << 32)))
		return false;
	cpm_transfer_begin();
	hash_search(by_name, &slot->name, HASH_REMOVE, NULL);
	cpm_retained_evict(index, cpm_pool_counted(index, CPM_QUERIES),
					   cpm_pool_counted(index, CPM_FAILED_QUERIES));
	cpm_pool_counters_transfer(index, CPM_OTHER_POOL);
	cpm_pool_owner_remove(index);
	cpm_pool_policy_remove_pool(index);
	pg_atomic_write_u32(&slot->is_used, 0);
	pg_atomic_fetch_sub_u32(&table->used, 1);
	pg_atomic_fetch_add_u64(&table->evicted, 1);
	cpm_transfer_end();
	return true;
}

static bool
is_other(const CpmPoolName *name)
{
	return strcmp(name->database, OTHER) == 0 && strcmp(name->role, OTHER) == 0 &&
		strcmp(name->application_name, OTHER) == 0;
}

/*
 * Return a slot for a new pool, evicting one if necessary; -1 if no pool can be evicted. Lock held
 * exclusively.
 */
static int
free_slot(void)
{
	int			max_pools = table->slots - 1;
	int			index;

	/* slots are filled in order, so the next one is usually free */
	for (int i = 0; i < max_pools && pg_atomic_read_u32(&table->used) < (uint32) max_pools; i++)
	{
		index = CPM_OTHER_POOL + 1 + table->next_free;
		table->next_free = (table->next_free + 1) % max_pools;
		if (pg_atomic_read_u32(&table->slot[index].is_used) == 0)
			return index;
	}
	do
		index = cpm_pool_to_evict(is_unused);
	while (index >= 0 && !evict(index));
	return index;
}

/* Return the slot of the pool with that name, creating it if necessary. Lock held exclusively. */
static int
find_or_create(const CpmPoolName *name)
{
	PoolIndexEntry *entry = hash_search(by_name, name, HASH_FIND, NULL);
	int			index;

	if (entry)
		return entry->index;
	/* merge a pool that users name "(other)", so that no two rows have the same name */
	if (is_other(name))
		return CPM_OTHER_POOL;
	index = free_slot();
	if (index >= 0)
		entry = hash_search(by_name, name, HASH_ENTER_NULL, NULL);
	if (entry == NULL)
	{
		pg_atomic_fetch_add_u64(&table->evicted, 1);
		return CPM_OTHER_POOL;
	}
	entry->index = index;
	table->slot[index].name = *name;
	pg_atomic_write_u32(&table->slot[index].role, InvalidOid);
	cpm_pool_owner_add(index, name);
	cpm_pool_policy_add_pool(index, name);
	cpm_retained_add_pool(index, name->database);
	/* readers without the lock check is_used before they copy the name */
	pg_write_barrier();
	pg_atomic_write_u32(&table->slot[index].is_used, 1);
	pg_atomic_fetch_add_u32(&table->used, 1);
	return index;
}

/*
 * Record that a session of the role is about to enter the pool. Pools are found by names, and
 * another role may have had this role's name until it was renamed or dropped. Lock held.
 */
static void
record_role(int index, Oid role)
{
	uint32		expected = InvalidOid;

	if (index != CPM_OTHER_POOL &&
		!pg_atomic_compare_exchange_u32(&table->slot[index].role, &expected, role) &&
		expected != role)
		pg_atomic_write_u32(&table->slot[index].role, CPM_SEVERAL_ROLES);
}

CpmPoolRef
cpm_pool_lock_and_find(const CpmPoolName *name, Oid role)
{
	PoolIndexEntry *entry;
	int			index;

	LWLockAcquire(lock, LW_SHARED);
	entry = hash_search(by_name, name, HASH_FIND, NULL);
	if (entry != NULL)
		index = entry->index;
	else
	{
		LWLockRelease(lock);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		index = find_or_create(name);
	}
	record_role(index, role);
	return ref_of(index);
}

uint64
cpm_pool_last_left_us(int index)
{
	return pg_atomic_read_u64(&table->slot[index].last_left_us);
}

bool
cpm_pool_generation(int index, uint32 *generation, uint32 *connections)
{
	uint64		state = pg_atomic_read_u64(&table->slot[index].state);

	*generation = (uint32) (state >> 32);
	*connections = (uint32) state;
	return pg_atomic_read_u32(&table->slot[index].is_used) != 0;
}

bool
cpm_pool_copy(int index, CpmPool *pool)
{
	PoolSlot   *slot = &table->slot[index];

	if (pg_atomic_read_u32(&slot->is_used) == 0)
		return false;
	if (index + 1 < table->slots)
		cpm_pool_counters_prefetch(index + 1);
	pg_read_barrier();
	/* clear the padding too, because the saver writes the struct */
	memset(pool, 0, offsetof(CpmPool, opened));
	pool->name = slot->name;
	pool->connections = (uint32) pg_atomic_read_u64(&slot->state);
	cpm_pool_counters_copy(index, pool);
	/* a session raises the peak only after it has entered */
	pool->peak_connections = Max(pool->peak_connections, pool->connections);
	pool->role_oid = cpm_pool_role(index);
	(void) cpm_pool_policy(index, &pool->policy);
	return true;
}

uint64
cpm_pool_counts(int index, uint32 *generation, CpmQueryCounts *counts)
{
	uint32		connections;

	memset(counts, 0, sizeof(*counts));
	if (!cpm_pool_generation(index, generation, &connections))
		return 0;
	return cpm_pool_counters_copy_counts(index, counts);
}

bool
cpm_pool_name(int index, CpmPoolName *name)
{
	if (index < 0 || index >= table->slots || pg_atomic_read_u32(&table->slot[index].is_used) == 0)
		return false;
	pg_read_barrier();
	*name = table->slot[index].name;
	return true;
}

Oid
cpm_pool_role(int index)
{
	return pg_atomic_read_u32(&table->slot[index].role);
}

int
cpm_pool_load(const CpmPool *pool, const CpmHistogram *histogram)
{
	int			index = find_or_create(&pool->name);

	if (index != CPM_OTHER_POOL)
		pg_atomic_write_u32(&table->slot[index].role, pool->role_oid);
	cpm_pool_counters_load(index, pool, histogram);
	cpm_pool_set_policy(index, &pool->policy, 0);
	return index;
}

void
cpm_pools_load_evicted(uint64 evicted)
{
	pg_atomic_fetch_add_u64(&table->evicted, evicted);
}

void
cpm_pools_reset_peaks(void)
{
	cpm_pool_counters_reset_peaks();
	for (int i = 0; i < table->slots; i++)
		if (pg_atomic_read_u32(&table->slot[i].is_used) != 0)
			cpm_pool_raise_peak(i, (uint32) pg_atomic_read_u64(&table->slot[i].state));
}

int
cpm_pools_used(void)
{
	return table ? (int) pg_atomic_read_u32(&table->used) : 0;
}

uint64
cpm_pools_evicted(void)
{
	return table ? pg_atomic_read_u64(&table->evicted) : 0;
}
