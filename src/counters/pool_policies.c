/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_policies.c
 *		The policies of pools.
 *
 * Administrators set policies on roles and databases, so all pools of a role in a database have
 * the same one. They share one entry, so that a session can set the policy without visiting all
 * pools.
 *
 * The lock of counters/pool_table guards keys, references and the list of free entries. The
 * policies are atomics: any process reads them, and sessions in one of the pools write them. The
 * eviction of an entry's last pool frees the entry, which no session can be writing then.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "counters/pool_policies.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#define NONE (-1)

typedef struct PolicyEntry
{
	uint64		key;			/* cpm_policy_key() of the role and database */
	int			pools;			/* number of its pools; 0 if the entry is free */
	int			next_free;		/* NONE at the end */
	pg_atomic_uint64 sequence;	/* of the policy; sessions write it before the limits */
	pg_atomic_uint32 limit[CPM_LIMITS]; /* the policy */
} PolicyEntry;

typedef struct PolicyTable
{
	pg_atomic_uint64 sequence;	/* the last one assigned; sessions increment it */
	int			free;			/* the first free entry; guarded by the lock */
	PolicyEntry entry[FLEXIBLE_ARRAY_MEMBER];	/* as many as slots of counters/pool_table */
} PolicyTable;

typedef struct PolicyKey
{
	uint64		key;			/* hash key */
	int			entry;
} PolicyKey;

static PolicyTable *table;

/*
 * For each slot of counters/pool_table, the index of its entry plus 1, or 0 if it has none. The
 * array follows the table in shared memory.
 */
static pg_atomic_uint32 *entry_of_pool;

static HTAB *by_key;

static Size
policy_table_size(void)
{
	return MAXALIGN(add_size(offsetof(PolicyTable, entry),
							 mul_size((Size) cpm_max_pools + 1, sizeof(PolicyEntry))));
}

Size
cpm_pool_policies_size(void)
{
	return add_size(policy_table_size(),
					mul_size((Size) cpm_max_pools + 1, sizeof(pg_atomic_uint32)));
}

Size
cpm_pool_policies_hash_size(void)
{
	return hash_estimate_size(cpm_max_pools + 1, sizeof(PolicyKey));
}

static void
init_policies(void)
{
	pg_atomic_init_u64(&table->sequence, 0);
	table->free = 0;
	for (int i = 0; i <= cpm_max_pools; i++)
	{
		PolicyEntry *entry = &table->entry[i];

		entry->pools = 0;
		entry->next_free = i < cpm_max_pools ? i + 1 : NONE;
		pg_atomic_init_u64(&entry->sequence, 0);
		for (int limit = 0; limit < CPM_LIMITS; limit++)
			pg_atomic_init_u32(&entry->limit[limit], 0);
		pg_atomic_init_u32(&entry_of_pool[i], 0);
	}
}

void
cpm_pool_policies_attach(void *memory, bool is_new)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(PolicyKey)};

	table = memory;
	entry_of_pool = (pg_atomic_uint32 *) ((char *) memory + policy_table_size());
	if (is_new)
		init_policies();
	by_key = cpm_shmem_hash("connpool_monitor policy keys", cpm_max_pools + 1, &control,
							HASH_ELEM | HASH_BLOBS);
}

/*
 * Return the entry with the key, creating it if necessary; NONE if there is no memory for it,
 * which cannot happen because there are as many entries as pools.
 */
static int
find_entry(uint64 key)
{
	bool		found;
	PolicyKey  *by_hash = hash_search(by_key, &key, HASH_ENTER_NULL, &found);
	PolicyEntry *entry;

	if (by_hash == NULL || (!found && table->free == NONE))
		return NONE;
	if (found)
		return by_hash->entry;
	by_hash->entry = table->free;
	entry = &table->entry[by_hash->entry];
	table->free = entry->next_free;
	entry->key = key;
	pg_atomic_write_u64(&entry->sequence, 0);
	for (int i = 0; i < CPM_LIMITS; i++)
		pg_atomic_write_u32(&entry->limit[i], 0);
	return by_hash->entry;
}

void
cpm_pool_policy_add_pool(int pool, const CpmPoolName *name)
{
	int			index = find_entry(cpm_policy_key(name));

	if (index == NONE)
		return;					/* the pool has no policy */
	table->entry[index].pools++;
	pg_atomic_write_u32(&entry_of_pool[pool], (uint32) index + 1);
}

void
cpm_pool_policy_remove_pool(int pool)
{
	int			index = (int) pg_atomic_exchange_u32(&entry_of_pool[pool], 0) - 1;
	PolicyEntry *entry;

	if (index == NONE)
		return;
	entry = &table->entry[index];
	if (--entry->pools > 0)
		return;
	hash_search(by_key, &entry->key, HASH_REMOVE, NULL);
	entry->next_free = table->free;
	table->free = index;
}

uint64
cpm_policy_sequence(void)
{
	return pg_atomic_add_fetch_u64(&table->sequence, 1);
}

void
cpm_pool_set_policy(int pool, const CpmPolicy *policy, uint64 sequence)
{
	uint32		index = pg_atomic_read_u32(&entry_of_pool[pool]);
	PolicyEntry *entry;

	if (index == 0)
		return;
	entry = &table->entry[index - 1];
	if (sequence < pg_atomic_read_u64(&entry->sequence))
		return;
	/* write changes only, because a write invalidates the cache line for its readers */
	if (sequence != pg_atomic_read_u64(&entry->sequence))
		pg_atomic_write_u64(&entry->sequence, sequence);
	for (int i = 0; i < CPM_LIMITS; i++)
		if (pg_atomic_read_u32(&entry->limit[i]) != (uint32) policy->limit[i])
			pg_atomic_write_u32(&entry->limit[i], (uint32) policy->limit[i]);
}

bool
cpm_pool_policy(int pool, CpmPolicy *policy)
{
	uint32		index = pg_atomic_read_u32(&entry_of_pool[pool]);
	bool		is_any = false;

	memset(policy, 0, sizeof(*policy));
	for (int i = 0; index != 0 && i < CPM_LIMITS; i++)
	{
		policy->limit[i] = (int) pg_atomic_read_u32(&table->entry[index - 1].limit[i]);
		is_any |= policy->limit[i] != 0;
	}
	return is_any;
}
