/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_busy.c
 *		For how long how many sessions of each pool were busy, and how often the
 *		sampler found each pool in use.
 *
 * One place for each of counters/pool_table. The sampler alone writes; readers take what
 * they find, of which a bucket may be a sample ahead of another. What belongs to
 * a pool that is not at its place any more, or to the time before a reset, is told
 * by the generation and the epoch that stand beside it.
 */
#include "postgres.h"

#include "base/settings.h"
#include "counters/pool_busy.h"
#include "counters/pool_table.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

typedef struct BusyPlace
{
	uint32		generation;		/* of the pool that it is of */
	uint32		epoch;			/* in which it began; 0 for nothing */
	CpmPoolUse	use;			/* of that pool, whatever the epoch */
	CpmBusy		busy;
} BusyPlace;

typedef struct BusyTimes
{
	pg_atomic_uint32 epoch;		/* a reset adds one */
	pg_atomic_uint64 samples;	/* the sampler adds one */
	BusyPlace	place[FLEXIBLE_ARRAY_MEMBER];
} BusyTimes;

static BusyTimes *times;
static uint64 *left_before;		/* by pool, at the sample before; of the sampler */

Size
cpm_pool_busy_size(void)
{
	return add_size(offsetof(BusyTimes, place), mul_size(cpm_max_pools + 1, sizeof(BusyPlace)));
}

void
cpm_pool_busy_attach(void *memory, bool is_new)
{
	times = memory;
	if (!is_new)
		return;
	pg_atomic_init_u32(&times->epoch, 1);
	pg_atomic_init_u64(&times->samples, 0);
	for (int i = 0; i <= cpm_max_pools; i++)
		times->place[i].epoch = 0;
}

/* The place, emptied if it knows another pool or another time. */
static BusyPlace *
entry_for(int index, uint32 generation)
{
	BusyPlace  *place = &times->place[index];
	uint32		epoch = pg_atomic_read_u32(&times->epoch);

	if (place->generation != generation || place->epoch == 0)
		memset(&place->use, 0, sizeof(place->use));
	if (place->generation != generation || place->epoch != epoch)
	{
		memset(&place->busy, 0, sizeof(place->busy));
		place->generation = generation;
		place->epoch = epoch;
	}
	return place;
}

/* Did a session leave the pool since this function was asked before? */
static bool
was_left(int index)
{
	uint64		left = cpm_pool_last_left(index);
	bool		is_new = left != left_before[index];

	left_before[index] = left;
	return is_new;
}

void
cpm_pool_busy_sample(const uint32 *busy_by_pool, uint32 tenths)
{
	uint64		sample = pg_atomic_fetch_add_u64(&times->samples, 1) + 1;

	if (left_before == NULL)
		left_before = MemoryContextAllocZero(TopMemoryContext, cpm_pool_slots() * sizeof(uint64));
	for (int i = 0; i < cpm_pool_slots(); i++)
	{
		uint32		generation;
		uint32		connections;
		BusyPlace  *place;

		if (!cpm_pool_generation(i, &generation, &connections) || (!was_left(i) && connections == 0))
			continue;
		place = entry_for(i, generation);
		place->use.samples++;
		place->use.last_used = sample;
		place->use.sessions += connections;
		if (connections > 0)
			cpm_busy_add(&place->busy, busy_by_pool[i], tenths);
	}
}

CpmPoolUse
cpm_pool_busy_use(int index)
{
	const BusyPlace *place = &times->place[index];
	CpmPoolUse	use = {0};
	uint32		generation;
	uint32		connections;

	if (cpm_pool_generation(index, &generation, &connections) &&
		place->epoch != 0 && place->generation == generation)
		use = place->use;
	return use;
}

uint64
cpm_pool_busy_samples(void)
{
	return pg_atomic_read_u64(&times->samples);
}

bool
cpm_pool_busy_copy(int index, CpmBusy *busy)
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
cpm_pool_busy_reset(void)
{
	pg_atomic_fetch_add_u32(&times->epoch, 1);
}

void
cpm_pool_busy_load(int index, const CpmBusy *busy)
{
	uint32		generation;
	uint32		connections;

	if (cpm_pool_generation(index, &generation, &connections))
		entry_for(index, generation)->busy = *busy;
}
