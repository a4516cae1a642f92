/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_owners.c
 *		Owners of pools: a role in a database, the pools it holds, and its policy.
 *
 * A policy is set on roles and databases, so every pool of an owner has the same. Kept once
 * for each owner, it is set by a session that opens without looking at any other pool.
 *
 * When the table of pools is full, a pool is evicted. Evicting the longest unused pool would let
 * one role that keeps renaming itself evict everybody else's, so the search begins with the
 * owner that holds the most places. Owners are in lists by that number, and pools are in a list
 * of their owner. The search examines the head of a list and moves it to the end, and examines
 * a bounded number of pools, so its cost does not depend on the number of pools.
 *
 * The lock of counters/pool_table guards all links. A policy is atomics: it is written by sessions that
 * are in a pool of the owner, which therefore stays, and read by anybody.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "counters/pool_owners.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#define NONE (-1)

/* How many pools one eviction examines, of one owner and in all. */
#define MOST_LOOKS_AT_OWNER 64
#define MOST_LOOKS 256

typedef struct Owner
{
	uint64		key;			/* cpm_pool_owner() */
	int			pools;			/* that it holds; 0 for an entry that is free */
	int			first_pool;
	int			last_pool;
	int			next;			/* of those that hold as many, or of free ones */
	int			previous;
	pg_atomic_uint64 sequence;	/* of the session that wrote the policy */
	pg_atomic_uint32 limit[CPM_LIMITS]; /* the policy */
} Owner;

/* By place in counters/pool_table. */
typedef struct PoolLink
{
	pg_atomic_uint32 owner;		/* index of the owner plus 1; 0 if the place has no pool */
	int			next;
	int			previous;
} PoolLink;

/*
 * The owners that hold the same number of pools. Lists that are not empty are linked in the order
 * of that number, so that the search for the owner with the most pools skips no empty ones. The
 * list for 0 is always empty and ends the chain.
 */
typedef struct OwnerList
{
	int			first;
	int			last;
	int			below;			/* the next lower number with a list that is not empty; 0 for none */
	int			above;			/* the next higher number; 0 for none */
} OwnerList;

typedef struct Owners
{
	pg_atomic_uint64 sequence;	/* of policies */
	int			most;			/* the largest number of pools that an owner holds */
	int			free;			/* the first free entry */
	int			places;			/* max_pools + 1, the length of the arrays that follow; set at
								 * start */
} Owners;

typedef struct OwnerKey
{
	uint64		key;			/* hash key */
	int			owner;
} OwnerKey;

static Owners *owners;
static Owner *owner_of_index;	/* `places` of each, behind the struct in shared memory */
static PoolLink *link_of_pool;
static OwnerList *with_pools;	/* indexed by the number of pools that the owners hold */
static HTAB *by_key;

static Size
owners_offset(void)
{
	return MAXALIGN(sizeof(Owners));
}

static Size
array_size(Size element)
{
	return MAXALIGN(mul_size((Size) cpm_max_pools + 1, element));
}

Size
cpm_pool_owners_size(void)
{
	Size		size = add_size(owners_offset(), array_size(sizeof(Owner)));

	size = add_size(size, array_size(sizeof(PoolLink)));
	return add_size(size, array_size(sizeof(OwnerList)));
}

Size
cpm_pool_owners_hash_size(void)
{
	return hash_estimate_size(cpm_max_pools + 1, sizeof(OwnerKey));
}

static void
init_owners(void)
{
	pg_atomic_init_u64(&owners->sequence, 0);
	owners->places = cpm_max_pools + 1;
	owners->most = 0;
	owners->free = 0;
	for (int i = 0; i < owners->places; i++)
	{
		Owner	   *owner = &owner_of_index[i];

		owner->pools = 0;
		owner->next = i + 1 < owners->places ? i + 1 : NONE;
		pg_atomic_init_u64(&owner->sequence, 0);
		for (int limit = 0; limit < CPM_LIMITS; limit++)
			pg_atomic_init_u32(&owner->limit[limit], 0);
		pg_atomic_init_u32(&link_of_pool[i].owner, 0);
		with_pools[i].first = with_pools[i].last = NONE;
		with_pools[i].below = with_pools[i].above = 0;
	}
}

void
cpm_pool_owners_attach(void *memory, bool is_new)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(OwnerKey)};
	char	   *arrays = (char *) memory + owners_offset();

	owners = memory;
	owner_of_index = (Owner *) arrays;
	arrays += array_size(sizeof(Owner));
	link_of_pool = (PoolLink *) arrays;
	arrays += array_size(sizeof(PoolLink));
	with_pools = (OwnerList *) arrays;
	if (is_new)
		init_owners();
	by_key = cpm_shmem_hash("connpool_monitor pool owner keys", cpm_max_pools + 1, &control,
							HASH_ELEM | HASH_BLOBS);
}

/* Link the list for that number above another list, unless it is linked because it has owners. */
static void
link_list(int pools, int below)
{
	OwnerList  *list = &with_pools[pools];

	if (list->first != NONE)
		return;
	list->below = below;
	list->above = with_pools[below].above;
	with_pools[below].above = pools;
	if (list->above != 0)
		with_pools[list->above].below = pools;
	else
		owners->most = pools;
}

static void
unlink_list_if_empty(int pools)
{
	OwnerList  *list = &with_pools[pools];

	if (list->first != NONE)
		return;
	with_pools[list->below].above = list->above;
	if (list->above != 0)
		with_pools[list->above].below = list->below;
	else
		owners->most = list->below;
}

/* Append an owner to the list for the number of pools that it holds. */
static void
append_owner(int index)
{
	Owner	   *owner = &owner_of_index[index];
	OwnerList  *list = &with_pools[owner->pools];

	owner->next = NONE;
	owner->previous = list->last;
	if (list->last != NONE)
		owner_of_index[list->last].next = index;
	else
		list->first = index;
	list->last = index;
}

static void
remove_owner(int index)
{
	Owner	   *owner = &owner_of_index[index];
	OwnerList  *list = &with_pools[owner->pools];

	if (owner->previous != NONE)
		owner_of_index[owner->previous].next = owner->next;
	else
		list->first = owner->next;
	if (owner->next != NONE)
		owner_of_index[owner->next].previous = owner->previous;
	else
		list->last = owner->previous;
}

static void
append_pool(Owner *owner, int pool)
{
	PoolLink   *link = &link_of_pool[pool];

	link->next = NONE;
	link->previous = owner->last_pool;
	if (owner->last_pool != NONE)
		link_of_pool[owner->last_pool].next = pool;
	else
		owner->first_pool = pool;
	owner->last_pool = pool;
}

static void
unlink_pool(Owner *owner, int pool)
{
	PoolLink   *link = &link_of_pool[pool];

	if (link->previous != NONE)
		link_of_pool[link->previous].next = link->next;
	else
		owner->first_pool = link->next;
	if (link->next != NONE)
		link_of_pool[link->next].previous = link->previous;
	else
		owner->last_pool = link->previous;
}

/*
 * Return the index of the owner with that key, creating it if necessary. NONE cannot happen,
 * because there are as many entries as pools.
 */
static int
find_owner(uint64 key)
{
	bool		found;
	OwnerKey   *entry = hash_search(by_key, &key, HASH_ENTER_NULL, &found);
	Owner	   *owner;

	if (entry == NULL || (!found && owners->free == NONE))
		return NONE;
	if (found)
		return entry->owner;
	entry->owner = owners->free;
	owner = &owner_of_index[entry->owner];
	owners->free = owner->next;
	owner->key = key;
	owner->first_pool = owner->last_pool = NONE;
	pg_atomic_write_u64(&owner->sequence, 0);
	for (int i = 0; i < CPM_LIMITS; i++)
		pg_atomic_write_u32(&owner->limit[i], 0);
	return entry->owner;
}

void
cpm_pool_owner_add(int pool, const CpmPoolName *name)
{
	int			index = find_owner(cpm_pool_owner(name));
	Owner	   *owner;

	if (index == NONE)
		return;					/* such a pool has no policy and is not evicted */
	owner = &owner_of_index[index];
	link_list(owner->pools + 1, owner->pools);
	if (owner->pools > 0)
	{
		remove_owner(index);
		unlink_list_if_empty(owner->pools);
	}
	append_pool(owner, pool);
	owner->pools++;
	append_owner(index);
	pg_atomic_write_u32(&link_of_pool[pool].owner, (uint32) index + 1);
}

void
cpm_pool_owner_remove(int pool)
{
	int			index = (int) pg_atomic_exchange_u32(&link_of_pool[pool].owner, 0) - 1;
	Owner	   *owner;

	if (index == NONE)
		return;
	owner = &owner_of_index[index];
	if (owner->pools > 1)
		link_list(owner->pools - 1, with_pools[owner->pools].below);
	remove_owner(index);
	unlink_list_if_empty(owner->pools);
	unlink_pool(owner, pool);
	owner->pools--;
	if (owner->pools > 0)
	{
		append_owner(index);
		return;
	}
	hash_search(by_key, &owner->key, HASH_REMOVE, NULL);
	owner->next = owners->free;
	owners->free = index;
}

typedef struct Choice
{
	int			pool;			/* the longest unused so far, or NONE */
	uint64		last_used;
	int			looks;			/* that are left */
} Choice;

/* Look at an owner's pools, or the first of them; they go to the end of its list. */
static void
look_at_owner(Owner *owner, CpmPoolIsUnused is_unused, Choice *choice)
{
	int			looks = Min(owner->pools, MOST_LOOKS_AT_OWNER);

	choice->looks -= looks;
	for (int i = 0; i < looks; i++)
	{
		int			pool = owner->first_pool;
		uint64		last_used;

		unlink_pool(owner, pool);
		append_pool(owner, pool);
		if (is_unused(pool, &last_used) && (choice->pool == NONE || last_used < choice->last_used))
		{
			choice->pool = pool;
			choice->last_used = last_used;
		}
	}
}

int
cpm_pool_to_evict(CpmPoolIsUnused is_unused)
{
	Choice		choice = {.pool = NONE, .looks = MOST_LOOKS};

	for (int pools = owners->most; pools > 0 && choice.pool == NONE && choice.looks > 0;
		 pools = with_pools[pools].below)
	{
		int			last = with_pools[pools].last;
		int			index = NONE;

		while (index != last && choice.looks > 0)
		{
			index = with_pools[pools].first;
			remove_owner(index);
			append_owner(index);
			look_at_owner(&owner_of_index[index], is_unused, &choice);
		}
	}
	return choice.pool;
}

uint64
cpm_policy_sequence(void)
{
	return pg_atomic_add_fetch_u64(&owners->sequence, 1);
}

void
cpm_pool_set_policy(int pool, const CpmPolicy *policy, uint64 sequence)
{
	uint32		index = pg_atomic_read_u32(&link_of_pool[pool].owner);
	Owner	   *owner;

	if (index == 0)
		return;
	owner = &owner_of_index[index - 1];
	if (sequence < pg_atomic_read_u64(&owner->sequence))
		return;
	/* usually nothing changed: avoid the write, which would take the cache line from its readers */
	if (sequence != pg_atomic_read_u64(&owner->sequence))
		pg_atomic_write_u64(&owner->sequence, sequence);
	for (int i = 0; i < CPM_LIMITS; i++)
		if (pg_atomic_read_u32(&owner->limit[i]) != (uint32) policy->limit[i])
			pg_atomic_write_u32(&owner->limit[i], (uint32) policy->limit[i]);
}

bool
cpm_pool_policy(int pool, CpmPolicy *policy)
{
	uint32		index = pg_atomic_read_u32(&link_of_pool[pool].owner);
	bool		is_any = false;

	memset(policy, 0, sizeof(*policy));
	for (int i = 0; index != 0 && i < CPM_LIMITS; i++)
	{
		policy->limit[i] = (int) pg_atomic_read_u32(&owner_of_index[index - 1].limit[i]);
		is_any |= policy->limit[i] != 0;
	}
	return is_any;
}
