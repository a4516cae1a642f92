/* SPDX-License-Identifier: PostgreSQL */
/*
 * full_bucket.c
 *		Counts a statement in a bucket of counters/backend_counters that is full.
 *
 * No test can run 2^32 statements, so this program sets the buckets of a slot, counts a statement
 * of 5 us, and prints the counts that the pool and the slot then have: "in the pool: 5 us N,
 * 9 us N; in the slot: 5 us N, 9 us N; N transfers". t/012_query_times.pl checks the output.
 */
#include "postgres.h"

#include "counters/backend_counters.c"

/* this program does not link the server's functions */
#undef printf
#include <stdio.h>

#define SHORT_US 5
#define LONG_US 9

static uint64 in_pool[CPM_BUCKETS];
static int	transfers;
static bool in_transfer;

void
cpm_transfer_begin(void)
{
	in_transfer = true;
}

void
cpm_transfer_end(void)
{
	in_transfer = false;
	transfers++;
}

void
cpm_pool_add_bucket(int index, int bucket, uint64 amount)
{
	if (in_transfer && index == 7)
		in_pool[bucket] += amount;
}

static void
enter_slot(void)
{
	static CpmSlotArray array;
	static CpmSlot slot;
	static CpmSlotCounts counts;
	static CpmSlotOccupant taken = {.pid = 1, .pool = 7};

	cpm_slot_array = &array;
	mine = &slot;
	my_occupant = &taken;
	cpm_own_slot.counters = &slot.counters;
	cpm_own_slot.count = counts.of;
}

int
main(void)
{
	pg_atomic_uint32 *bucket;
	int			fast = (int) cpm_bucket_of(SHORT_US);
	int			slow = (int) cpm_bucket_of(LONG_US);

	enter_slot();
	bucket = mine->counters.bucket;
	cpm_slot_count_statement(SHORT_US, false);
	cpm_slot_count_statement(LONG_US, false);
	pg_atomic_write_u32(&bucket[fast], PG_UINT32_MAX);
	cpm_slot_count_statement(SHORT_US, false);
	printf("in the pool: 5 us %llu, 9 us %llu; in the slot: 5 us %u, 9 us %u; %d transfers\n",
		   (unsigned long long) in_pool[fast], (unsigned long long) in_pool[slow],
		   pg_atomic_read_u32(&bucket[fast]), pg_atomic_read_u32(&bucket[slow]), transfers);
	return 0;
}
