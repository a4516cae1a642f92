/* SPDX-License-Identifier: PostgreSQL */
/*
 * owners.c
 *		Prints the number of pools that counters/pool_owners examines to find one to evict.
 *
 * One role holds nine tenths of the pools, and every pool has sessions. Prints a line for each
 * number of pools: that number, the most pools that one search examines and, once a pool of the
 * role has no session, the number of searches until that pool is found. t/014_pools.pl checks the
 * output.
 */
#include "postgres.h"

#include "storage/shmem.h"

/* an array replaces the hash table, whose arguments depend on PostgreSQL's version */
#define ShmemInitHash(...) NULL
#include "counters/pool_owners.c"

/* this program does not link the server's functions */
#undef printf
#undef snprintf
#include <stdio.h>

#define OWNERS 10
#define SEARCHES 2000
#define NONE (-1)

int			cpm_max_pools;

static OwnerKey keys[OWNERS + 1];	/* by key */
static bool is_present[OWNERS + 1];
static int	examined;			/* pools in this search */
static int	unused_pool;		/* NONE if every pool has sessions */

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	return a * b;
}

/* Return the number in the name of a role, which is its key. */
uint64
hash_bytes_extended(const unsigned char *name, int length, uint64 seed)
{
	(void) length, (void) seed;
	return (uint64) atoi((const char *) name);
}

void *
hash_search(HTAB *table, const void *key, HASHACTION action, bool *found)
{
	uint64		i = *(const uint64 *) key;

	(void) table;
	if (found != NULL)
		*found = is_present[i];
	is_present[i] = action != HASH_REMOVE;
	return &keys[i];
}

static bool
is_unused(int pool, uint64 *last_used)
{
	examined++;
	*last_used = 0;
	return pool == unused_pool;
}

static void
add_pools(int count)
{
	cpm_max_pools = count;
	memset(is_present, 0, sizeof(is_present));
	cpm_pool_owners_attach(calloc(1, cpm_pool_owners_size()), true);
	for (int pool = 1; pool <= count; pool++)
	{
		CpmPoolName name = {0};

		snprintf(name.role, NAMEDATALEN, "%d", pool % 10 > 0 ? 1 : 2 + pool / 10 % (OWNERS - 1));
		cpm_pool_owner_add(pool, &name);
	}
}

int
main(void)
{
	const int	counts[] = {256, 10000, 65535};

	for (size_t i = 0; i < lengthof(counts); i++)
	{
		int			most = 0;
		int			searches = 1;

		add_pools(counts[i]);
		unused_pool = NONE;
		for (int search = 0; search < SEARCHES; search++)
		{
			examined = 0;
			if (cpm_pool_to_evict(is_unused) != NONE)
				return 1;
			most = Max(most, examined);
		}
		unused_pool = counts[i] / 2 | 1;
		while (cpm_pool_to_evict(is_unused) != unused_pool)
			searches++;
		printf("%d %d %d\n", counts[i], most, searches);
	}
	return 0;
}
