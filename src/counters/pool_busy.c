/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_busy.c
 *		For each pool, the distribution over time of its number of busy sessions, and
 *		the number of samples that found it in use.
 *
 * There is an entry for each slot of counters/pool_table. It records the slot's generation and the
 * epoch, which a reset increments: readers ignore data of an earlier epoch or about a previous
 * occupant of the slot, and the sampler clears such data before it adds to the entry. Entries
 * are in shared memory, so that a restarted sampler continues them.
 *
 * The sampler is the only writer and takes no lock. Readers copy an entry while the sampler may be
 * writing it, so one bucket of a copy may include a sample that another bucket lacks. But a copy
 * never mixes old and cleared data: the sampler clears an entry only if its generation or epoch is
 * outdated, and updates these afterwards. Before and after copying an entry, readers check that
 * its generation and epoch are current.
 */
#include "postgres.h"

#include "base/settings.h"
#include "counters/pool_busy.h"
#include "counters/pool_table.h"
#include "port/atomics.h"
#include "storage/shmem.h"

/* Written by the sampler, and by the postmaster at startup. */
typedef struct BusyEntry
{
	uint32		generation;		/* of the slot, when the entry was cleared */
	uint32		epoch;			/* of "busy"; 0 if the entry was never written */
	uint64		last_left_us;	/* cpm_pool_last_left_us() at the previous sample */
	CpmPoolUse	use;			/* in all epochs */
	CpmBusy		busy;
} BusyEntry;

typedef struct BusyTable
{
	pg_atomic_uint32 epoch;		/* a reset increments it */
	pg_atomic_uint64 samples;	/* the sampler increments it */
	BusyEntry	entry[FLEXIBLE_ARRAY_MEMBER];	/* by index of counters/pool_table */
} BusyTable;

static BusyTable *table;

Size
cpm_pool_busy_size(void)
{
	return add_size(offsetof(BusyTable, entry), mul_size(cpm_max_pools + 1, sizeof(BusyEntry)));
}

void
cpm_pool_busy_attach(void *memory, bool is_new)
{
	table = memory;
	if (!is_new)
		return;
	pg_atomic_init_u32(&table->epoch, 1);
	pg_atomic_init_u64(&table->samples, 0);
	for (int i = 0; i <= cpm_max_pools; i++)
	{
		table->entry[i].epoch = 0;
		table->entry[i].last_left_us = 0;
	}
}

/*
 * Return the entry of a pool for the caller to write. Clears it if it belongs to a previous
 * occupant of the slot; clears only "busy" if it belongs to an earlier epoch.
 */
static BusyEntry *
entry_for(int index, uint32 generation)
{
	BusyEntry  *entry = &table->entry[index];
	uint32		epoch = pg_atomic_read_u32(&table->epoch);

	if (entry->generation == generation && entry->epoch == epoch)
		return entry;
	if (entry->generation != generation || entry->epoch == 0)
		memset(&entry->use, 0, sizeof(entry->use));
	memset(&entry->busy, 0, sizeof(entry->busy));
	pg_write_barrier();
	entry->generation = generation;
	entry->epoch = epoch;
	return entry;
}

/*
 * Return true if the entry is about the current occupant of the slot, and set *generation. With
 * in_epoch, it must also belong to the current epoch.
 */
static bool
is_current(int index, bool in_epoch, uint32 *generation)
{
	const volatile BusyEntry *entry = &table->entry[index];
	uint32		connections;
	bool		is_used;

	pg_read_barrier();
	is_used = cpm_pool_generation(index, generation, &connections);
	is_used = is_used && entry->generation == *generation && entry->epoch != 0 &&
		(!in_epoch || entry->epoch == pg_atomic_read_u32(&table->epoch));
	pg_read_barrier();
	return is_used;
}

/* Return true if a session has left the pool since the previous sample. */
static bool
was_left(int index)
{
	uint64		last_left_us = cpm_pool_last_left_us(index);
	bool		is_changed = last_left_us != table->entry[index].last_left_us;

	table->entry[index].last_left_us = last_left_us;
	return is_changed;
}

void
cpm_pool_busy_sample(const uint32 *busy_by_pool, uint32 tenths)
{
	uint64		sample = pg_atomic_fetch_add_u64(&table->samples, 1) + 1;

	for (int i = 0; i < cpm_pool_slots(); i++)
	{
		uint32		generation;
		uint32		connections;
		BusyEntry  *entry;

		if (!cpm_pool_generation(i, &generation, &connections) ||
			(!was_left(i) && connections == 0))
			continue;
		entry = entry_for(i, generation);
		entry->use.samples++;
		entry->use.last_used = sample;
		entry->use.sessions += connections;
		if (connections > 0)
			cpm_busy_add(&entry->busy, busy_by_pool[i], tenths);
	}
}

CpmPoolUse
cpm_pool_busy_use(int index)
{
	CpmPoolUse	use = {0};
	CpmPoolUse	copy;
	uint32		before;
	uint32		after;

	if (!is_current(index, false, &before))
		return use;
	copy = table->entry[index].use;
	return is_current(index, false, &after) && after == before ? copy : use;
}

uint64
cpm_pool_busy_samples(void)
{
	return pg_atomic_read_u64(&table->samples);
}

bool
cpm_pool_busy_copy(int index, CpmBusy *busy)
{
	uint32		epoch = pg_atomic_read_u32(&table->epoch);
	uint32		before;
	uint32		after;

	if (!is_current(index, true, &before))
		return false;
	*busy = table->entry[index].busy;
	return is_current(index, true, &after) && after == before &&
		pg_atomic_read_u32(&table->epoch) == epoch;
}

void
cpm_pool_busy_reset(void)
{
	pg_atomic_fetch_add_u32(&table->epoch, 1);
}

void
cpm_pool_busy_load(int index, const CpmBusy *busy)
{
	uint32		generation;
	uint32		connections;

	if (cpm_pool_generation(index, &generation, &connections))
		entry_for(index, generation)->busy = *busy;
}
