/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_load.c
 *		The load of each pool: the time that its sessions spent busy, by wait class, in the last
 *		minute, in the last hour and since the reset.
 *
 * There is an entry for each slot of counters/pool_table, as in counters/pool_busy. It holds sums
 * since the reset, and two rings of buckets for the minute and the hour. Each bucket has a number
 * derived from its time, so that no process has to clear buckets that have become too old. A
 * further entry holds the time observed.
 *
 * The sampler is the only writer, under a sequence lock. An entry about a previous occupant of its
 * slot belongs to "(other)": readers add it to that pool, and the sampler moves it there before it
 * reuses the entry. So eviction need not wait for the sampler and loses nothing. A reset
 * increments the epoch. Readers ignore entries of an earlier epoch, and the sampler clears them.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/load.h"
#include "base/seqlock.h"
#include "base/settings.h"
#include "counters/pool_load.h"
#include "counters/pool_table.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define MINUTE_BUCKET_US (10 * USECS_PER_SEC)
#define HOUR_BUCKET_US (300 * USECS_PER_SEC)

#define MAX_TRIES 20			/* reads before a reader gives up, a millisecond apart */

typedef struct LoadEntry
{
	uint32		generation;		/* of the slot, when the entry was cleared */
	uint32		epoch;			/* 0 if the entry was never written */
	CpmPoolLoad load;
} LoadEntry;

typedef struct LoadTable
{
	pg_atomic_uint32 epoch;		/* a reset increments it */

	/* The sampler, and the postmaster at startup, write the fields that follow. */
	int64		clock_offset_us;	/* load clock less monotonic clock; see set_load_clock() */
	int64		sampled_at_ms;	/* load clock at the previous sample; 0: none since the start */
	CpmSeqlock	lock;			/* guards the entries */
	LoadEntry	observed;		/* the time observed, stored as the first wait class */
	LoadEntry	pool[FLEXIBLE_ARRAY_MEMBER];	/* by index of counters/pool_table */
} LoadTable;

static LoadTable *table;

Size
cpm_pool_load_size(void)
{
	return add_size(offsetof(LoadTable, pool), mul_size(cpm_max_pools + 1, sizeof(LoadEntry)));
}

/*
 * Set the load clock, from whose time the numbers of buckets are computed. It advances with the
 * monotonic clock, so that a change of the system time does not affect it.
 */
static void
set_load_clock(int64 now_us)
{
	table->clock_offset_us = now_us - cpm_monotonic_us();
}

void
cpm_pool_load_attach(void *memory, bool is_new)
{
	table = memory;
	if (!is_new)
		return;
	memset(table, 0, cpm_pool_load_size());
	pg_atomic_init_u32(&table->epoch, 1);
	cpm_seqlock_init(&table->lock);
	/* begin at a time at which bucket 0 is older than any window */
	set_load_clock(CPM_HOUR_LOAD_BUCKETS * HOUR_BUCKET_US);
}

static void
add_to_load_bucket(CpmLoadBucket *ring, int size, uint32 number, int class, uint64 ms)
{
	CpmLoadBucket *bucket = &ring[number % size];

	if (bucket->number != number)
	{
		memset(bucket, 0, sizeof(*bucket));
		bucket->number = number;
	}
	bucket->ms[class] = (uint32) Min(bucket->ms[class] + ms, PG_UINT32_MAX);
}

static void
add_time(CpmPoolLoad *load, int class, int64 now_us, uint64 ms)
{
	uint32		minute_bucket = (uint32) (now_us / MINUTE_BUCKET_US);
	uint32		hour_bucket = (uint32) (now_us / HOUR_BUCKET_US);

	load->since_reset.ms[class] += ms;
	add_to_load_bucket(load->minute, CPM_MINUTE_LOAD_BUCKETS, minute_bucket, class, ms);
	add_to_load_bucket(load->hour, CPM_HOUR_LOAD_BUCKETS, hour_bucket, class, ms);
}

/* Add the buckets of one ring to another, except those that are too old for it. */
static void
merge_ring(CpmLoadBucket *into, const CpmLoadBucket *from, int size)
{
	for (int i = 0; i < size; i++)
	{
		if (from[i].number == 0 || from[i].number < into[i].number)
			continue;
		for (int class = 0; class < CPM_WAIT_CLASSES; class++)
			add_to_load_bucket(into, size, from[i].number, class, from[i].ms[class]);
	}
}

static void
merge_load(CpmPoolLoad *into, const CpmPoolLoad *from)
{
	cpm_load_add(&into->since_reset, &from->since_reset);
	merge_ring(into->minute, from->minute, CPM_MINUTE_LOAD_BUCKETS);
	merge_ring(into->hour, from->hour, CPM_HOUR_LOAD_BUCKETS);
}

static void
clear_entry(LoadEntry *entry, uint32 generation, uint32 epoch)
{
	memset(entry, 0, sizeof(*entry));
	entry->generation = generation;
	entry->epoch = epoch;
}

/*
 * Return the entry of a pool for the caller to write; that of "(other)" if the slot is free. Moves
 * the load of a previous occupant of the slot to "(other)", and discards load of an earlier epoch.
 */
static LoadEntry *
load_entry_for(int index, uint32 epoch)
{
	LoadEntry  *entry = &table->pool[index];
	uint32		generation;
	uint32		connections;

	if (!cpm_pool_generation(index, &generation, &connections))
		return load_entry_for(CPM_OTHER_POOL, epoch);
	if (entry->epoch == epoch && entry->generation == generation)
		return entry;
	if (entry->epoch == epoch)
		merge_load(&load_entry_for(CPM_OTHER_POOL, epoch)->load, &entry->load);
	clear_entry(entry, generation, epoch);
	return entry;
}

/* Return the milliseconds that the sample represents; 0 for the first one. */
static uint64
elapsed_ms(int64 now_ms, int64 interval_ms)
{
	int64		elapsed = table->sampled_at_ms != 0 ? now_ms - table->sampled_at_ms : 0;

	table->sampled_at_ms = now_ms;
	return (uint64) Min(Max(elapsed, 0), 2 * interval_ms);
}

void
cpm_pool_load_sample(const CpmBusySession *sessions, int count, int64 now_us, int64 interval_ms)
{
	int64		clock_us = now_us + table->clock_offset_us;
	uint64		ms = elapsed_ms(clock_us / 1000, interval_ms);
	uint32		epoch = pg_atomic_read_u32(&table->epoch);

	cpm_seqlock_repair(&table->lock);	/* the previous sampler may have died while it wrote */
	cpm_seqlock_write_begin(&table->lock);
	if (table->observed.epoch != epoch)
		clear_entry(&table->observed, 0, epoch);
	add_time(&table->observed.load, 0, clock_us, ms);
	for (int i = 0; i < count; i++)
		add_time(&load_entry_for(Max(sessions[i].pool, CPM_OTHER_POOL), epoch)->load,
				 sessions[i].wait_class, clock_us, ms);
	cpm_seqlock_write_end(&table->lock);
}

/* Add the buckets of a ring that are not too old. newest is the number of the current bucket. */
static void
sum_ring(const CpmLoadBucket *ring, int size, uint32 newest, CpmLoad *sum)
{
	for (int i = 0; i < size; i++)
	{
		if (newest - ring[i].number >= (uint32) size)
			continue;
		for (int class = 0; class < CPM_WAIT_CLASSES; class++)
			sum->ms[class] += ring[i].ms[class];
	}
}

static void
sum_window(const CpmPoolLoad *load, CpmStatWindow window, int64 clock_us, CpmLoad *sum)
{
	uint32		minute_bucket = (uint32) (clock_us / MINUTE_BUCKET_US);
	uint32		hour_bucket = (uint32) (clock_us / HOUR_BUCKET_US);

	if (window == CPM_LAST_MINUTE)
		sum_ring(load->minute, CPM_MINUTE_LOAD_BUCKETS, minute_bucket, sum);
	else if (window == CPM_LAST_HOUR)
		sum_ring(load->hour, CPM_HOUR_LOAD_BUCKETS, hour_bucket, sum);
	else
		cpm_load_add(sum, &load->since_reset);
}

/* Return the index of the pool to which the load in an entry belongs. */
static int
pool_of_entry(int index)
{
	uint32		generation;
	uint32		connections;

	return cpm_pool_generation(index, &generation, &connections) &&
		generation == table->pool[index].generation ? index : CPM_OTHER_POOL;
}

static uint64
read_window_once(CpmStatWindow window, CpmLoad *by_pool)
{
	int64		clock_us = cpm_monotonic_us() + table->clock_offset_us;
	uint32		epoch = pg_atomic_read_u32(&table->epoch);
	int			slots = cpm_pool_slots();
	CpmLoad		observed = {{0}};

	memset(by_pool, 0, slots * sizeof(CpmLoad));
	if (table->observed.epoch == epoch)
		sum_window(&table->observed.load, window, clock_us, &observed);
	for (int i = 0; i < slots; i++)
		if (table->pool[i].epoch == epoch)
			sum_window(&table->pool[i].load, window, clock_us, &by_pool[pool_of_entry(i)]);
	return observed.ms[0];
}

uint64
cpm_pool_load_read(CpmStatWindow window, CpmLoad *by_pool)
{
	uint64		observed_ms = 0;

	for (int tries = 0; tries < MAX_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&table->lock);

		observed_ms = read_window_once(window, by_pool);
		if (cpm_seqlock_read_ok(&table->lock, before))
			break;
		pg_usleep(1000);
	}
	return observed_ms;
}

static void
copy_once(CpmPoolLoad *copy)
{
	uint32		epoch = pg_atomic_read_u32(&table->epoch);

	memset(copy, 0, cpm_pool_slots() * sizeof(CpmPoolLoad));
	for (int i = 0; i < cpm_pool_slots(); i++)
		if (table->pool[i].epoch == epoch)
			merge_load(&copy[pool_of_entry(i)], &table->pool[i].load);
}

CpmPoolLoad *
cpm_pool_load_copy(void)
{
	CpmPoolLoad *copy = palloc_extended(cpm_pool_slots() * sizeof(CpmPoolLoad), MCXT_ALLOC_HUGE);

	for (int tries = 0; tries < MAX_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&table->lock);

		copy_once(copy);
		if (cpm_seqlock_read_ok(&table->lock, before))
			break;
		pg_usleep(1000);
	}
	return copy;
}

void
cpm_pool_load_restore(int index, const CpmPoolLoad *saved)
{
	merge_load(&load_entry_for(index, pg_atomic_read_u32(&table->epoch))->load, saved);
}

typedef struct SavedClock
{
	int64		clock_us;		/* the load clock when the file was saved */
	CpmPoolLoad observed;
} SavedClock;

static void
save_clock(CpmSink *sink)
{
	SavedClock	saved = {.clock_us = sink->now_us + table->clock_offset_us};

	if (table->observed.epoch == pg_atomic_read_u32(&table->epoch))
		saved.observed = table->observed.load;
	cpm_put(sink, &saved);
}

/* Continue the load clock. If the system clock was set back since, continue at the saved time. */
static void
load_clock(const void *record)
{
	const SavedClock *saved = record;

	table->clock_offset_us = saved->clock_us - cpm_loaded_us(0);
	clear_entry(&table->observed, 0, pg_atomic_read_u32(&table->epoch));
	table->observed.load = saved->observed;
}

const CpmFilePart cpm_load_clock_part = {
	"load clock", sizeof(SavedClock), .save = save_clock, .load = load_clock
};

void
cpm_pool_load_reset(void)
{
	pg_atomic_fetch_add_u32(&table->epoch, 1);
}
