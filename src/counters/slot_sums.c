/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot_sums.c
 *		Sums and maxima of the counters in the slots of all backends.
 *
 * A slot's counts never fall, so their sum over all slots, with the counters that the postmaster
 * loaded when the server started, is the server's total.
 */
#include "postgres.h"

#include "counters/slot_array.h"
#include "counters/slot_sums.h"
#include "port/atomics.h"

CpmQueryCounts
cpm_slots_counts(void)
{
	CpmQueryCounts sum = {0};

	if (cpm_slot_array != NULL)
		sum = cpm_slot_array->loaded_counts;
	for (int i = 0; cpm_slot_array != NULL && i < cpm_slot_array->total; i++)
		for (int j = 0; j < CPM_COUNTS; j++)
			sum.of[j] += pg_atomic_read_u64(&cpm_slot_counts[i].of[j]);
	return sum;
}

int64
cpm_slots_max_us(void)
{
	uint32		epoch = cpm_slot_array ? pg_atomic_read_u32(&cpm_slot_array->reset_epoch) : 0;
	int64		longest = cpm_slot_array ? cpm_slot_max_us(&cpm_slot_array->loaded_max, epoch) : 0;

	for (int i = 0; cpm_slot_array != NULL && i < cpm_slot_array->total; i++)
	{
		CpmSlotCounters *counters = &cpm_slot_array->slot[i].counters;
		int64		slot_max = cpm_slot_max_us(&counters->max_since_reset, epoch);

		longest = Max(longest, slot_max);
	}
	return longest;
}

void
cpm_slots_load(const CpmQueryCounts *counts)
{
	for (int i = 0; i < CPM_COUNTS; i++)
		cpm_slot_array->loaded_counts.of[i] += counts->of[i];
}

void
cpm_slots_load_max(int64 max_us)
{
	uint64		epoch = pg_atomic_read_u32(&cpm_slot_array->reset_epoch);

	pg_atomic_write_u64(&cpm_slot_array->loaded_max,
						epoch << CPM_PERIOD_SHIFT | Min((uint64) max_us, CPM_MAX_US));
}

void
cpm_slots_reset_max(void)
{
	pg_atomic_fetch_add_u32(&cpm_slot_array->reset_epoch, 1);
	cpm_slots_next_tick();
}

uint32
cpm_slots_tick(void)
{
	return cpm_slot_array ? pg_atomic_read_u32(&cpm_slot_array->tick) : 0;
}

int64
cpm_slots_tick_max_us(uint32 tick)
{
	int64		longest = 0;

	for (int i = 0; cpm_slot_array != NULL && i < cpm_slot_array->total; i++)
	{
		CpmSlotCounters *counters = &cpm_slot_array->slot[i].counters;
		int64		last = cpm_slot_max_us(&counters->max_of_tick, tick);
		int64		earlier = cpm_slot_max_us(&counters->max_of_earlier_tick, tick);

		longest = Max(longest, Max(last, earlier));
	}
	return longest;
}

/*
 * Write the tick into each slot, so that statements read no other cache line. If the sampler and a
 * reset run this concurrently, each slot keeps the higher number.
 */
void
cpm_slots_next_tick(void)
{
	uint64		tick = pg_atomic_fetch_add_u32(&cpm_slot_array->tick, 1) + 1;

	for (int i = 0; i < cpm_slot_array->total; i++)
	{
		pg_atomic_uint64 *slot_tick = &cpm_slot_counts[i].of[CPM_TICK_INDEX];
		uint64		current = pg_atomic_read_u64(slot_tick);

		while (current < tick && !pg_atomic_compare_exchange_u64(slot_tick, &current, tick))
			;
	}
}
