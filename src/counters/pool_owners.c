/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_owners.c
 *		Owners of pools: roles, with the pools of all databases that they hold.
 *
 * If the pool table is full, a pool is evicted. Evicting the longest unused pool would let a role
 * that keeps renaming its sessions evict the pools of all others, so the search begins with the
 * role that holds the most pools, in whatever databases. Owners are in lists by that number, and
 * an owner's pools are in a list too. The search examines the head of a list, moves it to the
 * end, and stops after a bounded number of pools, so its cost does not depend on how many there
 * are.
 *
 * The caller of each function holds the lock of counters/pool_table exclusively.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "common/hashfn.h"
#include "counters/pool_owners.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#define NONE (-1)

/* The number of pools that one search examines, of one owner and in all. */
#define MAX_EXAMINED_OF_OWNER 64
#define MAX_EXAMINED 256

typedef struct Owner
{
	uint64		key;			/* hash of the role */
	int			pools;			/* the number of its pools; 0 if the entry is free */
	int			first_pool;
	int			last_pool;
	int			next;			/* owner with as many pools, or free entry */
	int			previous;
} Owner;

/* A pool in the list of its owner. */
typedef struct PoolLink
{
	int			owner;			/* index of the owner, or NONE */
	int			next;
	int			previous;
} PoolLink;

/*
 * The owners with the same number of pools. Non-empty lists are linked in the order of that
 * number, so that the search does not step through empty ones. The list for 0 pools is always
 * empty and ends the chain.
 */
typedef struct OwnerList
{
	int			first;
	int			last;
	int			below;			/* the next lower number with a non-empty list; 0 for none */
	int			above;			/* the next higher such number; 0 for none */
} OwnerList;

typedef struct Owners
{
	int			max_pools;		/* the largest number of pools of an owner; under the lock */
	int			free;			/* the first free entry; under the lock */
	int			slots;			/* of the pool table, the length of each array; set at startup */
} Owners;

typedef struct OwnerKey
{
	uint64		key;			/* hash key */
	int			owner;
} OwnerKey;

static Owners *owners;

/* arrays that follow the struct in shared memory */
static Owner *owner_of_index;
static PoolLink *link_of_pool;	/* by index of counters/pool_table */
static OwnerList *with_pools;	/* by the number of pools that the owners have */

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
	owners->slots = cpm_max_pools + 1;
	owners->max_pools = 0;
	owners->free = 0;
	for (int i = 0; i < owners->slots; i++)
	{
		Owner	   *owner = &owner_of_index[i];

		owner->pools = 0;
		owner->next = i + 1 < owners->slots ? i + 1 : NONE;
		link_of_pool[i].owner = NONE;
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

/*
 * Link the list for a number of pools into the chain, right above the list for the lower number
 * "below". Call before an owner is appended. A list that has owners is linked already.
 */
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
		owners->max_pools = pools;
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
		owners->max_pools = list->below;
}

/* Append an owner to the list for its number of pools. */
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

static uint64
role_key(const CpmPoolName *name)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) name->role, NAMEDATALEN, 0));
}

/*
 * Return the index of the owner with that key, creating it if necessary; NONE if there is no
 * memory for it, which cannot happen because there are as many entries as pools.
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
	return entry->owner;
}

void
cpm_pool_owner_add(int pool, const CpmPoolName *name)
{
	int			index = find_owner(role_key(name));
	Owner	   *owner;

	if (index == NONE)
		return;					/* a pool without an owner is never evicted */
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
	link_of_pool[pool].owner = index;
}

void
cpm_pool_owner_remove(int pool)
{
	int			index = link_of_pool[pool].owner;
	Owner	   *owner;

	if (index == NONE)
		return;
	link_of_pool[pool].owner = NONE;
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
	int			pool;			/* the longest unused pool so far, or NONE */
	uint64		last_used;
	int			budget;			/* the number of pools that may still be examined */
} Choice;

/* Examine an owner's pools, up to a limit, and move them to the end of its list. */
static void
examine_owner(Owner *owner, CpmPoolIsUnused is_unused, Choice *choice)
{
	int			count = Min(owner->pools, MAX_EXAMINED_OF_OWNER);

	choice->budget -= count;
	for (int i = 0; i < count; i++)
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
	Choice		choice = {.pool = NONE, .budget = MAX_EXAMINED};

	for (int pools = owners->max_pools; pools > 0 && choice.pool == NONE && choice.budget > 0;
		 pools = with_pools[pools].below)
	{
		int			last = with_pools[pools].last;
		int			index = NONE;

		while (index != last && choice.budget > 0)
		{
			index = with_pools[pools].first;
			remove_owner(index);
			append_owner(index);
			examine_owner(&owner_of_index[index], is_unused, &choice);
		}
	}
	return choice.pool;
}
