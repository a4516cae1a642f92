/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_owners.c
 *		The pools that each role holds, and the choice of a pool to evict.
 *
 * If the pool table is full, a new pool evicts another. If it evicted the longest unused pool, a
 * role that keeps renaming its sessions could evict the pools of all other roles. So the search
 * begins with the role that holds the most pools, summed over all databases. There is a list of
 * owners for each number of pools, and each owner has a list of its pools. The search examines the
 * head of a list, moves it to the end, and stops after a bounded number of pools, so that its cost
 * does not depend on the number of pools.
 *
 * The caller of each function holds the lock of counters/pool_table exclusively.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "common/hashfn.h"
#include "counters/pool_owners.h"
#include "lib/ilist.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

/* The most pools that one search examines, of one owner and in all. */
#define MAX_EXAMINED_OF_OWNER 64
#define MAX_EXAMINED 256

typedef struct Owner
{
	uint64		key;			/* hash of the role */
	int			pools;			/* the number of its pools; 0 if the entry is free */
	dlist_head	pool_list;		/* of PoolLink */
	dlist_node	node;			/* in the list for its number of pools, or of free entries */
} Owner;

/* A pool in the list of its owner. */
typedef struct PoolLink
{
	Owner	   *owner;			/* or NULL */
	dlist_node	node;
} PoolLink;

/*
 * The owners with the same number of pools. Non-empty lists are linked in the order of that
 * number, so that the search does not step through empty ones. The list for 0 pools is always
 * empty and ends the chain.
 */
typedef struct OwnerList
{
	dlist_head	owners;			/* of Owner */
	int			below;			/* the next lower number with a non-empty list; 0 for none */
	int			above;			/* the next higher such number; 0 for none */
} OwnerList;

/* Guarded by the lock. Pointers work because all processes map the memory at one address. */
typedef struct Owners
{
	int			max_pools;		/* the largest number of pools of an owner */
	dlist_head	free;			/* of Owner: the free entries */
} Owners;

typedef struct OwnerKey
{
	uint64		key;			/* hash key */
	Owner	   *owner;
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
	owners->max_pools = 0;
	dlist_init(&owners->free);
	for (int i = 0; i <= cpm_max_pools; i++)
	{
		owner_of_index[i].pools = 0;
		dlist_push_tail(&owners->free, &owner_of_index[i].node);
		link_of_pool[i].owner = NULL;
		dlist_init(&with_pools[i].owners);
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
 * Link the list for a number of pools into the chain, directly above the list for the lower number
 * "below". Call before appending an owner. Does nothing if the list has owners.
 */
static void
link_list(int pools, int below)
{
	OwnerList  *list = &with_pools[pools];

	if (!dlist_is_empty(&list->owners))
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

	if (!dlist_is_empty(&list->owners))
		return;
	with_pools[list->below].above = list->above;
	if (list->above != 0)
		with_pools[list->above].below = list->below;
	else
		owners->max_pools = list->below;
}

static uint64
role_key(const CpmPoolName *name)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) name->role, NAMEDATALEN, 0));
}

/*
 * Return the owner with the key, creating it if necessary; NULL if there is no memory for it,
 * which cannot happen because there are as many entries as pools.
 */
static Owner *
find_owner(uint64 key)
{
	bool		found;
	OwnerKey   *entry = hash_search(by_key, &key, HASH_ENTER_NULL, &found);

	if (entry == NULL || (!found && dlist_is_empty(&owners->free)))
		return NULL;
	if (found)
		return entry->owner;
	entry->owner = dlist_container(Owner, node, dlist_pop_head_node(&owners->free));
	entry->owner->key = key;
	dlist_init(&entry->owner->pool_list);
	return entry->owner;
}

void
cpm_pool_owner_add(int pool, const CpmPoolName *name)
{
	Owner	   *owner = find_owner(role_key(name));

	if (owner == NULL)
		return;					/* a pool without an owner is never evicted */
	link_list(owner->pools + 1, owner->pools);
	if (owner->pools > 0)
	{
		dlist_delete(&owner->node);
		unlink_list_if_empty(owner->pools);
	}
	owner->pools++;
	dlist_push_tail(&with_pools[owner->pools].owners, &owner->node);
	dlist_push_tail(&owner->pool_list, &link_of_pool[pool].node);
	link_of_pool[pool].owner = owner;
}

void
cpm_pool_owner_remove(int pool)
{
	Owner	   *owner = link_of_pool[pool].owner;

	if (owner == NULL)
		return;
	link_of_pool[pool].owner = NULL;
	if (owner->pools > 1)
		link_list(owner->pools - 1, with_pools[owner->pools].below);
	dlist_delete(&owner->node);
	unlink_list_if_empty(owner->pools);
	dlist_delete(&link_of_pool[pool].node);
	owner->pools--;
	if (owner->pools == 0)
		hash_search(by_key, &owner->key, HASH_REMOVE, NULL);
	dlist_push_tail(owner->pools > 0 ? &with_pools[owner->pools].owners : &owners->free,
					&owner->node);
}

typedef struct Choice
{
	int			pool;			/* the longest unused pool so far, or -1 */
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
		dlist_node *node = dlist_head_node(&owner->pool_list);
		int			pool = (int) (dlist_container(PoolLink, node, node) - link_of_pool);
		uint64		last_used;

		dlist_move_tail(&owner->pool_list, node);
		if (is_unused(pool, &last_used) && (choice->pool < 0 || last_used < choice->last_used))
		{
			choice->pool = pool;
			choice->last_used = last_used;
		}
	}
}

int
cpm_pool_to_evict(CpmPoolIsUnused is_unused)
{
	Choice		choice = {.pool = -1, .budget = MAX_EXAMINED};

	for (int pools = owners->max_pools; pools > 0 && choice.pool < 0 && choice.budget > 0;
		 pools = with_pools[pools].below)
	{
		dlist_head *list = &with_pools[pools].owners;
		dlist_node *last = dlist_tail_node(list);
		dlist_node *node = NULL;

		while (node != last && choice.budget > 0)
		{
			node = dlist_head_node(list);
			dlist_move_tail(list, node);
			examine_owner(dlist_container(Owner, node, node), is_unused, &choice);
		}
	}
	return choice.pool;
}
