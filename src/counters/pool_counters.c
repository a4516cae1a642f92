/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_counters.c
 *		The counters of each pool, by index of counters/pool_table.
 *
 * Many sessions add to a pool, so all counters are atomics. A session adds the counts in its own
 * slot (counters/backend_counters) when it leaves the pool, inside a transfer
 * (counters/counter_transfer), so that a snapshot contains each count once.
 *
 * A reset does not clear the counters, because sessions add to them meanwhile. It records a
 * baseline, which readers subtract. One word stores a peak with the number of its epoch. A reset
 * begins a new epoch, and a peak of an older epoch counts as zero.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/histogram.h"
#include "base/query_counts.h"
#include "base/settings.h"
#include "base/stream.h"
#include "counters/pool_counters.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* The counters of a CpmPool that are sums, as atomics. */
typedef struct PoolSums
{
	pg_atomic_uint64 count[CPM_COUNTS];
	pg_atomic_uint64 opened;
	pg_atomic_uint64 ended[CPM_SESSION_ENDS];
	pg_atomic_uint64 session_time_us;
	pg_atomic_uint64 setup_time_us;
	pg_atomic_uint64 feature[CPM_FEATURES];
	pg_atomic_uint64 bucket[CPM_BUCKETS];
} PoolSums;

#define ATOMICS_OF(sums) ((pg_atomic_uint64 *) (sums))
#define ATOMICS_IN_SUMS ((int) (sizeof(PoolSums) / sizeof(pg_atomic_uint64)))

/*
 * The comments below name the usual writers. The postmaster also writes most fields when it loads
 * the statistics file. An eviction, under the lock of counters/pool_table, transfers the values of
 * the evicted pool to "(other)".
 */
typedef struct PoolEntry
{
	pg_atomic_uint64 peak;		/* epoch << 32 | connections; sessions raise it as they enter, and
								 * resets raise it to the current number */
	pg_atomic_uint64 peak_busy; /* epoch << 32 | sessions; the sampler raises it */
	pg_atomic_uint64 last_opened;	/* TimestampTz at which a session last opened in the pool; 0:
									 * never; sessions write it */
	pg_atomic_uint64 last_opened_us;	/* time of the same event by the monotonic clock */
	pg_atomic_uint64 feature_seen[CPM_FEATURES];	/* TimestampTz of the last use; 0 if none;
													 * sessions write it */
	pg_atomic_uint64 octaves;	/* a bit for each octave of buckets that is not all zero; sessions
								 * and resets set it */
	pg_atomic_uint32 has_baseline;	/* 1 if "baseline" is set; written together with it */
	PoolSums	total;			/* sessions add when they open, leave or use a feature */
	PoolSums	baseline;		/* resets write it, under the lock of counters/pool_table; readers
								 * do not take the lock */
} PoolEntry;

typedef struct PoolCounters
{
	pg_atomic_uint32 epoch;		/* of peaks; a reset increments it */
	PoolEntry	pool[FLEXIBLE_ARRAY_MEMBER];
} PoolCounters;

static PoolCounters *shared;

Size
cpm_pool_counters_size(void)
{
	return add_size(offsetof(PoolCounters, pool), mul_size(cpm_max_pools + 1, sizeof(PoolEntry)));
}

/* Initialize the epoch only: new shared memory is zeroed, and zeros are a pool without counts. */
void
cpm_pool_counters_attach(void *memory, bool is_new)
{
	shared = memory;
	if (is_new)
		pg_atomic_init_u32(&shared->epoch, 1);
}

static void
raise_peak(pg_atomic_uint64 *peak, uint32 value)
{
	uint64		raised = (uint64) pg_atomic_read_u32(&shared->epoch) << 32 | value;
	uint64		current = pg_atomic_read_u64(peak);

	/* the epoch is in the high half, so that a peak of an older epoch is lower */
	while (current < raised)
		if (pg_atomic_compare_exchange_u64(peak, &current, raised))
			break;
}

static uint32
peak_value(pg_atomic_uint64 *peak)
{
	uint64		current = pg_atomic_read_u64(peak);

	return (current >> 32) == pg_atomic_read_u32(&shared->epoch) ? (uint32) current : 0;
}

void
cpm_pool_raise_peak(int index, uint32 connections)
{
	raise_peak(&shared->pool[index].peak, connections);
}

void
cpm_pool_raise_busy_peak(int index, uint32 busy)
{
	raise_peak(&shared->pool[index].peak_busy, busy);
}

void
cpm_pool_counters_reset_peaks(void)
{
	pg_atomic_fetch_add_u32(&shared->epoch, 1);
}

static void
raise_timestamp(pg_atomic_uint64 *timestamp, uint64 raised)
{
	uint64		current = pg_atomic_read_u64(timestamp);

	while (current < raised && !pg_atomic_compare_exchange_u64(timestamp, &current, raised))
		;
}

void
cpm_pool_add(int index, CpmCount count, uint64 amount)
{
	pg_atomic_fetch_add_u64(&shared->pool[index].total.count[count], amount);
}

/* Mark the octave of a bucket as used, because readers skip octaves that are not. */
static void
mark_octave(PoolEntry *pool, int bucket)
{
	uint64		octave = UINT64CONST(1) << (bucket / CPM_SUB_BUCKETS);

	if ((pg_atomic_read_u64(&pool->octaves) & octave) == 0)
		pg_atomic_fetch_or_u64(&pool->octaves, octave);
}

void
cpm_pool_add_bucket(int index, int bucket, uint64 amount)
{
	mark_octave(&shared->pool[index], bucket);
	pg_atomic_fetch_add_u64(&shared->pool[index].total.bucket[bucket], amount);
}

void
cpm_pool_add_opened(int index, uint64 setup_time_us)
{
	PoolEntry  *pool = &shared->pool[index];

	pg_atomic_write_u64(&pool->last_opened, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u64(&pool->last_opened_us, (uint64) cpm_monotonic_us());
	pg_atomic_fetch_add_u64(&pool->total.opened, 1);
	pg_atomic_fetch_add_u64(&pool->total.setup_time_us, setup_time_us);
}

void
cpm_pool_add_ended(int index, CpmSessionEnd how, uint64 session_time_us)
{
	PoolSums   *total = &shared->pool[index].total;

	pg_atomic_fetch_add_u64(&total->ended[how], 1);
	pg_atomic_fetch_add_u64(&total->session_time_us, session_time_us);
}

void
cpm_pool_add_feature(int index, CpmFeature feature, uint64 uses, TimestampTz now)
{
	pg_atomic_uint64 *seen = &shared->pool[index].feature_seen[feature];
	TimestampTz last = (TimestampTz) pg_atomic_read_u64(seen);

	pg_atomic_fetch_add_u64(&shared->pool[index].total.feature[feature], uses);
	/* a time in the future is from before the clock was set back */
	if (last > now && last > GetCurrentTimestamp())
		pg_atomic_write_u64(seen, (uint64) now);
	else
		raise_timestamp(seen, (uint64) now);
}

TimestampTz
cpm_pool_last_opened(int index)
{
	PoolEntry  *pool = &shared->pool[index];

	return cpm_comparable_time((TimestampTz) pg_atomic_read_u64(&pool->last_opened),
							   (int64) pg_atomic_read_u64(&pool->last_opened_us));
}

static void
copy_sums(PoolSums *sums, CpmPool *pool)
{
	for (int i = 0; i < CPM_COUNTS; i++)
		pool->counts.of[i] = pg_atomic_read_u64(&sums->count[i]);
	pool->opened = pg_atomic_read_u64(&sums->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pool->ended[i] = pg_atomic_read_u64(&sums->ended[i]);
	pool->session_time_us = pg_atomic_read_u64(&sums->session_time_us);
	pool->setup_time_us = pg_atomic_read_u64(&sums->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		pool->feature[i] = pg_atomic_read_u64(&sums->feature[i]);
}

void
cpm_pool_counters_prefetch(int index)
{
	const char *pool = (const char *) &shared->pool[index];

	for (size_t i = 0; i < offsetof(PoolEntry, total) + offsetof(PoolSums, bucket); i += 64)
		cpm_prefetch(pool + i);
}

void
cpm_pool_counters_copy(int index, CpmPool *copy)
{
	PoolEntry  *pool = &shared->pool[index];

	copy->peak_connections = peak_value(&pool->peak);
	copy->peak_busy = peak_value(&pool->peak_busy);
	copy_sums(&pool->total, copy);
	for (int i = 0; i < CPM_FEATURES; i++)
		copy->feature_seen[i] = (TimestampTz) pg_atomic_read_u64(&pool->feature_seen[i]);
}

void
cpm_pool_add_buckets_to(int index, CpmHistogram *histogram)
{
	PoolEntry  *pool = &shared->pool[index];
	uint64		octaves = pg_atomic_read_u64(&pool->octaves);

	for (; octaves != 0; octaves &= octaves - 1)
	{
		int			first = pg_rightmost_one_pos64(octaves) * CPM_SUB_BUCKETS;

		for (int i = first; i < first + CPM_SUB_BUCKETS; i++)
			histogram->count[i] += pg_atomic_read_u64(&pool->total.bucket[i]);
	}
}

/*
 * Return the increase since the baseline, or 0 if a reset wrote the baseline after the caller read
 * the counter. The comparison is signed because a baseline can be negative: a reset sets that of
 * "opened" to the number opened less the number of connections, and sessions that entered the pool
 * by renaming themselves did not open in it.
 */
static uint64
since(uint64 now, uint64 earlier)
{
	return (uint64) Max((int64) (now - earlier), 0);
}

void
cpm_pool_subtract_baseline(int index, CpmPool *pool)
{
	PoolEntry  *entry = &shared->pool[index];
	CpmPool		baseline;

	if (pg_atomic_read_u32(&entry->has_baseline) == 0)
		return;
	copy_sums(&entry->baseline, &baseline);
	pool->opened = since(pool->opened, baseline.opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pool->ended[i] = since(pool->ended[i], baseline.ended[i]);
	pool->session_time_us = since(pool->session_time_us, baseline.session_time_us);
	pool->setup_time_us = since(pool->setup_time_us, baseline.setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		pool->feature[i] = since(pool->feature[i], baseline.feature[i]);
	cpm_query_counts_subtract(&pool->counts, &baseline.counts);
}

void
cpm_pool_subtract_bucket_baseline(int index, CpmHistogram *histogram)
{
	PoolEntry  *pool = &shared->pool[index];
	uint64		octaves = pg_atomic_read_u64(&pool->octaves);

	if (pg_atomic_read_u32(&pool->has_baseline) == 0)
		return;
	for (; octaves != 0; octaves &= octaves - 1)
	{
		int			first = pg_rightmost_one_pos64(octaves) * CPM_SUB_BUCKETS;

		for (int i = first; i < first + CPM_SUB_BUCKETS; i++)
			histogram->count[i] = since(histogram->count[i],
										pg_atomic_read_u64(&pool->baseline.bucket[i]));
	}
}

uint64
cpm_pool_counters_copy_counts(int index, CpmQueryCounts *counts)
{
	PoolSums   *total = &shared->pool[index].total;

	for (int i = 0; i < CPM_COUNTS; i++)
		counts->of[i] = pg_atomic_read_u64(&total->count[i]);
	return pg_atomic_read_u64(&total->opened);
}

uint64
cpm_pool_counted(int index, CpmCount count)
{
	PoolEntry  *pool = &shared->pool[index];

	return pg_atomic_read_u64(&pool->total.count[count]) -
		pg_atomic_read_u64(&pool->baseline.count[count]);
}

void
cpm_pool_set_baseline(int index, const CpmPool *from, const CpmHistogram *histogram)
{
	PoolEntry  *pool = &shared->pool[index];
	PoolSums   *baseline = &pool->baseline;

	for (int i = 0; i < CPM_COUNTS; i++)
		pg_atomic_write_u64(&baseline->count[i], from->counts.of[i]);
	pg_atomic_write_u64(&baseline->opened, from->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pg_atomic_write_u64(&baseline->ended[i], from->ended[i]);
	pg_atomic_write_u64(&baseline->session_time_us, from->session_time_us);
	pg_atomic_write_u64(&baseline->setup_time_us, from->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		pg_atomic_write_u64(&baseline->feature[i], from->feature[i]);
	for (int i = 0; i < CPM_BUCKETS; i++)
	{
		if (histogram->count[i] != 0)
			mark_octave(pool, i);
		pg_atomic_write_u64(&baseline->bucket[i], histogram->count[i]);
	}
	pg_atomic_write_u32(&pool->has_baseline, 1);
}

void
cpm_pool_counters_load(int index, const CpmPool *from, const CpmHistogram *histogram)
{
	PoolSums   *total = &shared->pool[index].total;

	for (int i = 0; i < CPM_COUNTS; i++)
		pg_atomic_fetch_add_u64(&total->count[i], from->counts.of[i]);
	pg_atomic_fetch_add_u64(&total->opened, from->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		pg_atomic_fetch_add_u64(&total->ended[i], from->ended[i]);
	pg_atomic_fetch_add_u64(&total->session_time_us, from->session_time_us);
	pg_atomic_fetch_add_u64(&total->setup_time_us, from->setup_time_us);
	for (int i = 0; i < CPM_FEATURES; i++)
		cpm_pool_add_feature(index, i, from->feature[i],
							 cpm_loaded_time(from->feature_seen[i]));
	for (int i = 0; i < CPM_BUCKETS; i++)
		if (histogram->count[i] != 0)
			cpm_pool_add_bucket(index, i, histogram->count[i]);
	cpm_pool_raise_peak(index, from->peak_connections);
	cpm_pool_raise_busy_peak(index, from->peak_busy);
}

static void
transfer_sums(PoolSums *from, PoolSums *to)
{
	for (int i = 0; i < ATOMICS_IN_SUMS; i++)
	{
		uint64		amount = pg_atomic_read_u64(&ATOMICS_OF(from)[i]);

		if (amount != 0)
			pg_atomic_fetch_add_u64(&ATOMICS_OF(to)[i], amount);
		pg_atomic_write_u64(&ATOMICS_OF(from)[i], 0);
	}
}

void
cpm_pool_counters_transfer(int from, int to)
{
	PoolEntry  *source = &shared->pool[from];
	PoolEntry  *target = &shared->pool[to];

	transfer_sums(&source->total, &target->total);
	transfer_sums(&source->baseline, &target->baseline);
	pg_atomic_fetch_or_u64(&target->octaves, pg_atomic_exchange_u64(&source->octaves, 0));
	if (pg_atomic_exchange_u32(&source->has_baseline, 0) != 0)
		pg_atomic_write_u32(&target->has_baseline, 1);
	raise_peak(&target->peak, peak_value(&source->peak));
	raise_peak(&target->peak_busy, peak_value(&source->peak_busy));
	pg_atomic_write_u64(&source->peak, 0);
	pg_atomic_write_u64(&source->peak_busy, 0);
	for (int i = 0; i < CPM_FEATURES; i++)
	{
		raise_timestamp(&target->feature_seen[i], pg_atomic_read_u64(&source->feature_seen[i]));
		pg_atomic_write_u64(&source->feature_seen[i], 0);
	}
	/* do not add this time to "(other)": no reader uses it there */
	pg_atomic_write_u64(&source->last_opened, 0);
}
