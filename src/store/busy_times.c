/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy_times.c
 *		For how long how many sessions of each pool were busy.
 *
 * One place for each of store/pools. The sampler alone writes; readers take what
 * they find, of which a bucket may be a sample ahead of another. What belongs to
 * a pool that is not at its place any more, or to the time before a reset, is told
 * by the generation and the epoch that stand beside it.
 */
#include "postgres.h"

#include "base/settings.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "store/busy_times.h"
#include "store/pools.h"

typedef struct BusyPlace
{
	uint32		generation;		/* of the pool that it is of */
	uint32		epoch;			/* in which it began; 0 for nothing */
	CpmBusy		busy;
} BusyPlace;

typedef struct BusyTimes
{
	pg_atomic_uint32 epoch;		/* a reset adds one */
	BusyPlace	place[FLEXIBLE_ARRAY_MEMBER];
} BusyTimes;

static BusyTimes *times;

Size
cpm_busy_times_size(void)
{
	return add_size(offsetof(BusyTimes, place), mul_size(cpm_max_pools + 1, sizeof(BusyPlace)));
}

void
cpm_busy_times_attach(void *memory, bool is_new)
{
	times = memory;
	if (!is_new)
		return;
	pg_atomic_init_u32(&times->epoch, 1);
	for (int i = 0; i <= cpm_max_pools; i++)
		times->place[i].epoch = 0;
}

/* The place, emptied if it knows another pool or another time. */
static BusyPlace *
own_place(int index, uint32 generation)
{
	BusyPlace  *place = &times->place[index];
	uint32		epoch = pg_atomic_read_u32(&times->epoch);

	if (place->generation != generation || place->epoch != epoch)
	{
		memset(&place->busy, 0, sizeof(place->busy));
		place->generation = generation;
		place->epoch = epoch;
	}
	return place;
}

void
cpm_busy_times_keep(const uint32 *busy_by_pool, uint32 tenths)
{
	for (int i = 0; i < cpm_pools_places(); i++)
	{
		uint32		generation;
		uint32		connections;

		if (!cpm_pool_generation(i, &generation, &connections) || connections == 0)
			continue;
		cpm_busy_add(&own_place(i, generation)->busy, busy_by_pool[i], tenths);
	}
}

bool
cpm_busy_times_copy(int index, CpmBusy *busy)
{
	const BusyPlace *place = &times->place[index];
	uint32		generation;
	uint32		connections;

	if (!cpm_pool_generation(index, &generation, &connections) ||
		place->generation != generation || place->epoch != pg_atomic_read_u32(&times->epoch))
		return false;
	*busy = place->busy;
	return true;
}

void
cpm_busy_times_reset(void)
{
	pg_atomic_fetch_add_u32(&times->epoch, 1);
}

void
cpm_busy_times_load(int index, const CpmBusy *busy)
{
	uint32		generation;
	uint32		connections;

	if (cpm_pool_generation(index, &generation, &connections))
		own_place(index, generation)->busy = *busy;
}
