/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_windows.c
 *		Statement statistics of the last minute, the last hour and the time since the
 *		last reset.
 *
 * The sampler stores a snapshot of all counters every ten seconds in one ring, and every sixth
 * snapshot in a second ring, which covers an hour. The statistics of a window are the difference
 * between the counters now and the newest snapshot that is old enough, by the monotonic clock. The
 * postmaster writes the first snapshots at startup. Readers take no lock: they copy a snapshot and
 * then check whether the sampler has overwritten it meanwhile, as in counters/minute_counters.
 *
 * Unlike its counts, the maximum of a window cannot be computed as a difference. So each snapshot
 * holds the longest statement since the previous one, which backends record by ticks
 * (counters/backend_counters). If a statement ends while the sampler takes a snapshot, the
 * snapshot's maximum may lack it.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/histogram.h"
#include "base/query_counts.h"
#include "base/seqlock.h"
#include "base/set_back.h"
#include "counters/pool_snapshot.h"
#include "counters/slot_sums.h"
#include "counters/stat_windows.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/timestamp.h"

#define SNAPSHOT_US (10 * USECS_PER_SEC)
#define EARLY_US (USECS_PER_SEC / 2)	/* tolerance for samples that are early */
#define SNAPSHOTS_PER_MINUTE 6
#define SHORT_RING 24			/* more than a minute of snapshots; each restart appends two */
#define LONG_RING 96			/* more than an hour of snapshots; each restart appends two */

typedef struct CounterSnapshot
{
	int64		at_us;			/* by the monotonic clock; may be negative */
	CpmQueryCounts counts;
	CpmHistogram histogram;
	int64		max_us;			/* the longest statement since the previous snapshot */
} CounterSnapshot;

/* Describes an array of snapshots; snapshot n is at n % size. */
typedef struct SnapshotRing
{
	pg_atomic_uint64 next;		/* number of the next snapshot; the sampler writes it */
	int64		length_us;		/* of its window; set at startup */
	int			size;			/* set at startup */
} SnapshotRing;

/* The counters at the last reset, and the numbers of the first snapshots after it. */
typedef struct Reset
{
	TimestampTz at;				/* as recorded; see time_of_reset() */
	int64		steps_us;		/* cpm_clock_steps_us() at that time */
	CounterSnapshot counters;
	uint64		first_of_minute;
	uint64		first_of_hour;
} Reset;

/* The sampler, and the postmaster at startup, write the snapshots. */
typedef struct Windows
{
	SnapshotRing minute;
	CounterSnapshot minute_snapshot[SHORT_RING];
	SnapshotRing hour;
	CounterSnapshot hour_snapshot[LONG_RING];
	pg_atomic_uint64 minute_max_us; /* the maximum since the last hour_snapshot; the sampler
									 * writes it, readers and the saver read it */
	CpmSeqlock	reset_lock;		/* guards reset; a lock of the caller excludes other writers */
	Reset		reset;
} Windows;

typedef struct SavedSnapshot
{
	uint64		window;			/* CpmStatWindow of its ring; CPM_SINCE_RESET: taken at a reset */
	TimestampTz reset_at;		/* time of that reset; 0 for other snapshots */
	CounterSnapshot snapshot;	/* its at_us is its age, and its counts are since the reset */
} SavedSnapshot;

static Windows *windows;

const char *
cpm_stat_window_name(CpmStatWindow window)
{
	switch (window)
	{
		case CPM_LAST_MINUTE:
			return "last_minute";
		case CPM_LAST_HOUR:
			return "last_hour";
		case CPM_SINCE_RESET:
			break;
	}
	return "since_reset";
}

Size
cpm_stat_windows_size(void)
{
	return sizeof(Windows);
}

static void
init_snapshots(SnapshotRing *ring, CounterSnapshot *snapshots, int size, int64 length_us,
			   int64 now_us)
{
	pg_atomic_init_u64(&ring->next, 1);
	ring->size = size;
	ring->length_us = length_us;
	snapshots[0].at_us = now_us;
}

void
cpm_stat_windows_attach(void *memory, bool is_new)
{
	int64		now_us = cpm_monotonic_us();

	windows = memory;
	if (!is_new)
		return;
	memset(windows, 0, sizeof(*windows));
	init_snapshots(&windows->minute, windows->minute_snapshot, SHORT_RING, 60 * USECS_PER_SEC,
				   now_us);
	init_snapshots(&windows->hour, windows->hour_snapshot, LONG_RING, 3600 * USECS_PER_SEC,
				   now_us);
	pg_atomic_init_u64(&windows->minute_max_us, 0);
	cpm_seqlock_init(&windows->reset_lock);
	windows->reset.at = GetCurrentTimestamp();
	windows->reset.counters.at_us = now_us;
}

/*
 * Take a snapshot of the counters. Returns false if its histogram may lack statements, or have
 * them twice, because a process was stopped while it added statements to a pool.
 */
static bool
take_snapshot(CounterSnapshot *snapshot, int64 now_us, int64 max_us)
{
	snapshot->at_us = now_us;
	snapshot->counts = cpm_slots_counts();
	snapshot->max_us = max_us;
	return cpm_pools_histogram(&snapshot->histogram, true);
}

static void
append_snapshot(SnapshotRing *ring, CounterSnapshot *snapshots, const CounterSnapshot *snapshot)
{
	uint64		number = pg_atomic_read_u64(&ring->next);

	/*
	 * The next write overwrites the oldest snapshot. A reader that has copied this snapshot
	 * discards the copy if it then finds that "next" is "number" or higher. The previous call set
	 * "next" to "number"; the barrier makes that visible before the snapshot changes.
	 */
	pg_write_barrier();
	snapshots[number % ring->size] = *snapshot;
	pg_write_barrier();
	pg_atomic_write_u64(&ring->next, number + 1);
}

void
cpm_stat_windows_snapshot(void)
{
	static CounterSnapshot snapshot;	/* static because it has over 2 kB */
	uint64		number = pg_atomic_read_u64(&windows->minute.next);
	int64		newest_us = windows->minute_snapshot[(number - 1) % SHORT_RING].at_us;
	int64		age_us = cpm_monotonic_us() - newest_us;
	int64		minute_max_us = (int64) pg_atomic_read_u64(&windows->minute_max_us);
	uint32		tick = cpm_slots_tick();
	bool		is_consistent;

	if (age_us < SNAPSHOT_US - EARLY_US)
		return;
	is_consistent = take_snapshot(&snapshot, newest_us + age_us, 0);

	/*
	 * An inconsistent snapshot would make statistics wrong for an hour, so leave it out and try
	 * again at the next sample. Store it if the previous snapshot is twenty seconds old.
	 */
	if (!is_consistent && age_us < 2 * SNAPSHOT_US)
		return;
	cpm_slots_next_tick();
	snapshot.max_us = cpm_slots_tick_max_us(tick);
	append_snapshot(&windows->minute, windows->minute_snapshot, &snapshot);

	minute_max_us = Max(minute_max_us, snapshot.max_us);
	if (number % SNAPSHOTS_PER_MINUTE == 0)
	{
		snapshot.max_us = minute_max_us;
		append_snapshot(&windows->hour, windows->hour_snapshot, &snapshot);
		pg_write_barrier();		/* readers must find this maximum in one place or the other */
		minute_max_us = 0;
	}
	pg_atomic_write_u64(&windows->minute_max_us, (uint64) minute_max_us);
}

/*
 * Return the number of the snapshot at which the ring's window begins: the newest one that is old
 * enough, or else the oldest one. "first" is the number of the first snapshot after the reset. If
 * the result is lower, the window begins at the reset. Sets *max_us to the duration of the longest
 * statement between that snapshot and the newest one.
 */
static uint64
beginning_of(const SnapshotRing *ring, const CounterSnapshot *snapshots, uint64 next,
			 int64 now_us, uint64 first, int64 *max_us)
{
	uint64		oldest = next - Min(next, (uint64) ring->size - 1);
	uint64		number = next - 1;

	*max_us = 0;
	while (number > oldest && number >= first &&
		   now_us - snapshots[number % ring->size].at_us < ring->length_us)
	{
		*max_us = Max(*max_us, snapshots[number % ring->size].max_us);
		number--;
	}
	return number;
}

/*
 * Copy the snapshot at which the ring's window begins; returns false if that is the reset. Retries
 * if the sampler has overwritten the snapshot meanwhile.
 */
static bool
find_beginning(SnapshotRing *ring, const CounterSnapshot *snapshots, int64 now_us, uint64 first,
			   CounterSnapshot *then, int64 *max_us)
{
	uint64		number;

	do
	{
		uint64		next = pg_atomic_read_u64(&ring->next);

		pg_read_barrier();
		number = beginning_of(ring, snapshots, next, now_us, first, max_us);
		*then = snapshots[number % ring->size];
		pg_read_barrier();
	} while (pg_atomic_read_u64(&ring->next) - number >= (uint64) ring->size);
	return number >= first;
}

/*
 * Copy the snapshot at which the last hour begins; returns false if that is the reset. Sets
 * *max_us to the duration of the longest statement since that snapshot, as far as the sampler has
 * recorded it.
 */
static bool
find_hour(int64 now_us, const Reset *reset, CounterSnapshot *then, int64 *max_us)
{
	int64		latest_us = (int64) pg_atomic_read_u64(&windows->minute_max_us);
	bool		is_found;

	pg_read_barrier();
	is_found = find_beginning(&windows->hour, windows->hour_snapshot, now_us,
							  reset->first_of_hour, then, max_us);
	*max_us = Max(*max_us, latest_us);
	return is_found;
}

static void
copy_reset(Reset *reset)
{
	cpm_seqlock_copy(&windows->reset_lock, reset, &windows->reset, sizeof(*reset));
}

/*
 * Return the time of the reset. If the clock was set back since, convert it to a time of the clock
 * as it is set now. Does not compute it from the monotonic clock, because then clients could not
 * compare two results: they would differ by microseconds.
 */
static TimestampTz
time_of_reset(const Reset *reset)
{
	return reset->at - Max(cpm_clock_steps_us() - reset->steps_us, 0);
}

TimestampTz
cpm_stat_windows_reset_at(void)
{
	Reset	   *reset;
	TimestampTz at;

	if (windows == NULL)
		return 0;
	reset = palloc(sizeof(Reset));
	copy_reset(reset);
	at = time_of_reset(reset);
	pfree(reset);
	return at;
}

void
cpm_stat_window_read(CpmStatWindow window, CpmStatWindowCounts *stats)
{
	CounterSnapshot *then = palloc(sizeof(CounterSnapshot));
	Reset	   *reset = palloc(sizeof(Reset));
	int64		now_us;
	bool		is_found = false;

	copy_reset(reset);
	now_us = cpm_monotonic_us();
	if (window == CPM_LAST_MINUTE)
		is_found = find_beginning(&windows->minute, windows->minute_snapshot, now_us,
								  reset->first_of_minute, then, &stats->max_us);
	else if (window == CPM_LAST_HOUR)
		is_found = find_hour(now_us, reset, then, &stats->max_us);
	if (!is_found)
		*then = reset->counters;

	/* report the same beginning and maximum for all windows that begin at the reset */
	if (then->at_us == reset->counters.at_us)
	{
		stats->since = time_of_reset(reset);
		stats->max_us = cpm_slots_max_us();
	}
	else
	{
		stats->since = cpm_timestamp_of(then->at_us);
		stats->max_us = Max(stats->max_us, cpm_slots_tick_max_us(cpm_slots_tick()));
	}
	stats->length_us = now_us - then->at_us;
	stats->counts = cpm_slots_counts();
	cpm_query_counts_subtract(&stats->counts, &then->counts);
	cpm_pools_histogram(&stats->histogram, false);
	cpm_histogram_subtract(&stats->histogram, &then->histogram);
	pfree(then);
	pfree(reset);
}

void
cpm_stat_windows_reset(TimestampTz now)
{
	Reset	   *reset = palloc(sizeof(Reset));

	cpm_slots_reset_max();
	reset->at = now;
	reset->steps_us = cpm_clock_steps_us();
	reset->first_of_minute = pg_atomic_read_u64(&windows->minute.next);
	reset->first_of_hour = pg_atomic_read_u64(&windows->hour.next);
	(void) take_snapshot(&reset->counters, cpm_monotonic_us(), 0);
	cpm_seqlock_repair(&windows->reset_lock);
	cpm_seqlock_write_begin(&windows->reset_lock);
	windows->reset = *reset;
	cpm_seqlock_write_end(&windows->reset_lock);
	pfree(reset);
}

/* Save a snapshot as the difference from the reset. */
static void
save_snapshot(CpmSink *sink, CpmStatWindow window, const CounterSnapshot *snapshot,
			  const Reset *reset)
{
	SavedSnapshot saved = {
		.window = window,
		.reset_at = window == CPM_SINCE_RESET ? time_of_reset(reset) : 0,
		.snapshot = *snapshot,
	};

	saved.snapshot.at_us = sink->now_us - snapshot->at_us;
	cpm_query_counts_subtract(&saved.snapshot.counts, &reset->counters.counts);
	cpm_histogram_subtract(&saved.snapshot.histogram, &reset->counters.histogram);
	cpm_put(sink, &saved);
}

/*
 * Save the snapshots with numbers from "first" on, and after them one taken now. Skips snapshots
 * that the sampler overwrites meanwhile.
 */
static void
save_ring(CpmSink *sink, CpmStatWindow window, uint64 first, const Reset *reset,
		  int64 latest_max_us)
{
	SnapshotRing *ring = window == CPM_LAST_MINUTE ? &windows->minute : &windows->hour;
	const CounterSnapshot *snapshots = window == CPM_LAST_MINUTE ? windows->minute_snapshot :
		windows->hour_snapshot;
	uint64		next = pg_atomic_read_u64(&ring->next);
	uint64		oldest = next >= (uint64) ring->size ? next - ring->size + 1 : 0;
	CounterSnapshot copy;

	for (uint64 i = Max(first, oldest); i < next; i++)
	{
		copy = snapshots[i % ring->size];
		pg_read_barrier();
		if (pg_atomic_read_u64(&ring->next) - i < (uint64) ring->size)
			save_snapshot(sink, window, &copy, reset);
	}
	(void) take_snapshot(&copy, sink->now_us, latest_max_us);
	save_snapshot(sink, window, &copy, reset);
}

static void
save_windows(CpmSink *sink)
{
	Reset		reset;
	int64		latest_us = cpm_slots_tick_max_us(cpm_slots_tick());

	copy_reset(&reset);
	save_snapshot(sink, CPM_SINCE_RESET, &reset.counters, &reset);
	save_ring(sink, CPM_LAST_MINUTE, reset.first_of_minute, &reset, latest_us);
	save_ring(sink, CPM_LAST_HOUR, reset.first_of_hour, &reset,
			  Max(latest_us, (int64) pg_atomic_read_u64(&windows->minute_max_us)));
}

/*
 * Load a snapshot. The first one in the file has the counters at the reset. It becomes the first
 * one of both rings, so that a window begins at the reset if no later snapshot is old enough.
 */
static void
load_snapshot(const void *record)
{
	const SavedSnapshot *saved = record;
	CounterSnapshot snapshot = saved->snapshot;

	snapshot.at_us = cpm_loaded_us(snapshot.at_us);
	if (saved->window == CPM_SINCE_RESET)
	{
		pg_atomic_write_u64(&windows->minute.next, 0);
		pg_atomic_write_u64(&windows->hour.next, 0);
		windows->reset.at = saved->reset_at;
		windows->reset.counters.at_us = snapshot.at_us;
	}
	if (saved->window != CPM_LAST_HOUR)
		append_snapshot(&windows->minute, windows->minute_snapshot, &snapshot);
	if (saved->window != CPM_LAST_MINUTE)
		append_snapshot(&windows->hour, windows->hour_snapshot, &snapshot);
}

const CpmFilePart cpm_stat_windows_part = {
	"statistics windows", sizeof(SavedSnapshot), .save = save_windows, .load = load_snapshot,
	.time = {CPM_TIME(SavedSnapshot, reset_at)}
};

void
cpm_stat_windows_resume(void)
{
	CounterSnapshot loaded;

	(void) take_snapshot(&loaded, cpm_monotonic_us(), 0);
	append_snapshot(&windows->minute, windows->minute_snapshot, &loaded);
	append_snapshot(&windows->hour, windows->hour_snapshot, &loaded);
}
