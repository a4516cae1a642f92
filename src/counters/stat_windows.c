/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_windows.c
 *		Statement statistics of the last minute, the last hour and the time since the
 *		last reset.
 *
 * The sampler stores a snapshot of all counters every ten seconds in one ring, and every sixth
 * snapshot in a second ring, which covers an hour. The statistics of a window are the difference
 * between the counters now and the newest snapshot that is old enough. The postmaster writes the
 * first snapshots at startup. Readers take no lock: they copy a snapshot and then check
 * whether the sampler has overwritten it meanwhile, as in counters/minute_counters.
 *
 * Unlike its counts, the maximum of a window cannot be computed as a difference. So each snapshot
 * holds the longest statement since the previous one, which backends record by ticks
 * (counters/backend_counters). If a statement ends while the sampler takes a snapshot, the
 * snapshot's maximum may lack it.
 */
#include "postgres.h"

#include "base/histogram.h"
#include "base/query_counts.h"
#include "base/seqlock.h"
#include "counters/pool_snapshot.h"
#include "counters/slot_sums.h"
#include "counters/stat_windows.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/timestamp.h"

#define SNAPSHOT_US (10 * USECS_PER_SEC)
#define EARLY_US (USECS_PER_SEC / 2)	/* tolerance for samples that are early or out of order */
#define SNAPSHOTS_PER_MINUTE 6
#define SHORT_RING 24			/* more than a minute of snapshots; each restart appends two */
#define LONG_RING 96			/* more than an hour of snapshots; each restart appends two */

typedef struct CounterSnapshot
{
	TimestampTz at;
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
	int64		minute_max_us;	/* the maximum since the last hour_snapshot; the sampler writes,
								 * the saver reads */
	CpmSeqlock	reset_lock;		/* guards reset; a lock of the caller excludes other writers */
	Reset		reset;
} Windows;

typedef struct SavedSnapshot
{
	uint64		window;			/* CpmStatWindow of its ring; CPM_SINCE_RESET: taken at a reset */
	CounterSnapshot snapshot;
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
			   TimestampTz now)
{
	pg_atomic_init_u64(&ring->next, 1);
	ring->size = size;
	ring->length_us = length_us;
	snapshots[0].at = now;
}

void
cpm_stat_windows_attach(void *memory, bool is_new)
{
	TimestampTz now = GetCurrentTimestamp();

	windows = memory;
	if (!is_new)
		return;
	memset(windows, 0, sizeof(*windows));
	init_snapshots(&windows->minute, windows->minute_snapshot, SHORT_RING, 60 * USECS_PER_SEC,
				   now);
	init_snapshots(&windows->hour, windows->hour_snapshot, LONG_RING, 3600 * USECS_PER_SEC, now);
	cpm_seqlock_init(&windows->reset_lock);
	windows->reset.counters.at = now;
}

/*
 * Take a snapshot of the counters. Returns false if its histogram may lack statements, or have
 * them twice, because a process was stopped while it added statements to a pool.
 */
static bool
take_snapshot(CounterSnapshot *snapshot, TimestampTz now, int64 max_us)
{
	snapshot->at = now;
	snapshot->counts = cpm_slots_counts();
	snapshot->max_us = max_us;
	return cpm_pools_histogram(&snapshot->histogram, true);
}

static void
append_snapshot(SnapshotRing *ring, CounterSnapshot *snapshots, const CounterSnapshot *snapshot)
{
	uint64		number = pg_atomic_read_u64(&ring->next);

	/*
	 * The next write overwrites the oldest snapshot. A reader discards its copy of that snapshot
	 * if "next" has reached "number". Therefore this value of "next", which the previous call
	 * stored, must be visible before the snapshot changes.
	 */
	pg_write_barrier();
	snapshots[number % ring->size] = *snapshot;
	pg_write_barrier();
	pg_atomic_write_u64(&ring->next, number + 1);
}

void
cpm_stat_windows_snapshot(TimestampTz now)
{
	static CounterSnapshot snapshot;	/* static because it has over 2 kB */
	uint64		number = pg_atomic_read_u64(&windows->minute.next);
	TimestampTz newest = windows->minute_snapshot[(number - 1) % SHORT_RING].at;
	uint32		tick = cpm_slots_tick();
	bool		is_consistent;

	/* if the clock was set back, store a snapshot rather than wait until the clock catches up */
	if (now >= newest && now - newest < SNAPSHOT_US - EARLY_US)
		return;
	is_consistent = take_snapshot(&snapshot, now, 0);

	/*
	 * An inconsistent snapshot would make statistics wrong for an hour, so leave it out and try
	 * again at the next sample. Store it if the previous snapshot is twenty seconds old.
	 */
	if (!is_consistent && now >= newest && now - newest < 2 * SNAPSHOT_US)
		return;
	cpm_slots_next_tick();
	snapshot.max_us = cpm_slots_tick_max_us(tick);
	append_snapshot(&windows->minute, windows->minute_snapshot, &snapshot);

	windows->minute_max_us = Max(windows->minute_max_us, snapshot.max_us);
	if (number % SNAPSHOTS_PER_MINUTE == 0)
	{
		snapshot.max_us = windows->minute_max_us;
		append_snapshot(&windows->hour, windows->hour_snapshot, &snapshot);
		windows->minute_max_us = 0;
	}
}

/*
 * Return the number of the snapshot at which the ring's window begins: the newest one that is old
 * enough, or else the oldest usable one. "first" is the number of the first snapshot after the
 * reset. If the result is lower, the window begins at the reset. Sets *max_us to the duration of
 * the longest statement of the window, without the current tick.
 *
 * A snapshot or reset is not usable if the clock was set back after it, because its age is then
 * unknown. The time of such a snapshot is in the future, or later than that of the next snapshot.
 */
static uint64
beginning_of(const SnapshotRing *ring, const CounterSnapshot *snapshots, uint64 next,
			 TimestampTz now, uint64 first, TimestampTz reset_at, int64 *max_us)
{
	uint64		number = next - 1;
	TimestampTz latest = now + SNAPSHOT_US; /* a usable snapshot is not later than this */

	*max_us = 0;
	for (uint64 i = 0; i < Min(next, (uint64) ring->size - 1); i++)
	{
		const CounterSnapshot *snapshot = &snapshots[(next - 1 - i) % ring->size];
		TimestampTz at = next - 1 - i < first ? reset_at : snapshot->at;

		if (i > 0 && at > latest + EARLY_US)
			break;
		latest = Min(latest, at);
		number = next - 1 - i;
		if (number < first || now - snapshot->at >= ring->length_us)
			break;
		*max_us = Max(*max_us, snapshot->max_us);
	}
	return number;
}

/*
 * Copy the snapshot at which the ring's window begins; returns false if that is the reset. Retries
 * if the sampler has overwritten the snapshot meanwhile.
 */
static bool
find_beginning(SnapshotRing *ring, const CounterSnapshot *snapshots, TimestampTz now, uint64 first,
			   TimestampTz reset_at, CounterSnapshot *then, int64 *max_us)
{
	uint64		number;

	do
	{
		uint64		next = pg_atomic_read_u64(&ring->next);

		pg_read_barrier();
		number = beginning_of(ring, snapshots, next, now, first, reset_at, max_us);
		*then = snapshots[number % ring->size];
		pg_read_barrier();
	} while (pg_atomic_read_u64(&ring->next) - number >= (uint64) ring->size);
	return number >= first;
}

static void
copy_reset(Reset *reset)
{
	cpm_seqlock_copy(&windows->reset_lock, reset, &windows->reset, sizeof(*reset));
}

TimestampTz
cpm_stat_windows_reset_at(void)
{
	TimestampTz at;

	if (windows == NULL)
		return 0;
	cpm_seqlock_copy(&windows->reset_lock, &at, &windows->reset.counters.at, sizeof(at));
	return at;
}

/*
 * Copy the snapshot at which the last hour begins; returns false if that is the reset. The hour's
 * ring does not have the maximum of the current minute yet, so take that from the minute's ring.
 */
static bool
find_hour(TimestampTz now, const Reset *reset, CounterSnapshot *then, int64 *max_us)
{
	CounterSnapshot *minute = palloc(sizeof(CounterSnapshot));
	int64		latest_us;
	bool		is_in_minute = find_beginning(&windows->minute, windows->minute_snapshot, now,
											  reset->first_of_minute, reset->counters.at,
											  minute, &latest_us);
	bool		is_found = find_beginning(&windows->hour, windows->hour_snapshot, now,
										  reset->first_of_hour, reset->counters.at, then, max_us);

	*max_us = Max(*max_us, latest_us);
	/* use the minute's ring if the hour's has no snapshot from after the clock was set back */
	if ((is_found ? then->at : reset->counters.at) > now + SNAPSHOT_US && is_in_minute)
	{
		*then = *minute;
		*max_us = latest_us;
		is_found = true;
	}
	pfree(minute);
	return is_found;
}

void
cpm_stat_window_read(CpmStatWindow window, TimestampTz now, CpmStatWindowCounts *stats)
{
	CounterSnapshot *then = palloc(sizeof(CounterSnapshot));
	Reset	   *reset = palloc(sizeof(Reset));
	bool		is_found = false;

	copy_reset(reset);
	if (window == CPM_LAST_MINUTE)
		is_found = find_beginning(&windows->minute, windows->minute_snapshot, now,
								  reset->first_of_minute, reset->counters.at, then, &stats->max_us);
	else if (window == CPM_LAST_HOUR)
		is_found = find_hour(now, reset, then, &stats->max_us);
	if (!is_found)
		*then = reset->counters;

	/* report the same maximum for all windows that begin at the reset */
	if (then->at == reset->counters.at)
		stats->max_us = cpm_slots_max_us();
	else
		stats->max_us = Max(stats->max_us, cpm_slots_tick_max_us(cpm_slots_tick()));
	stats->since = then->at;
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
	reset->first_of_minute = pg_atomic_read_u64(&windows->minute.next);
	reset->first_of_hour = pg_atomic_read_u64(&windows->hour.next);
	(void) take_snapshot(&reset->counters, now, 0);
	cpm_seqlock_repair(&windows->reset_lock);
	cpm_seqlock_write_begin(&windows->reset_lock);
	windows->reset = *reset;
	cpm_seqlock_write_end(&windows->reset_lock);
	pfree(reset);
}

/* Save a snapshot as the difference from the reset. */
static void
save_snapshot(CpmSink *sink, CpmStatWindow window, const CounterSnapshot *snapshot,
			  const CounterSnapshot *reset)
{
	SavedSnapshot saved = {window, *snapshot};

	cpm_query_counts_subtract(&saved.snapshot.counts, &reset->counts);
	cpm_histogram_subtract(&saved.snapshot.histogram, &reset->histogram);
	cpm_put(sink, &saved);
}

/*
 * Save the snapshots with numbers from "first" on, and after them one taken now. Skips snapshots
 * that the sampler overwrites meanwhile.
 */
static void
save_ring(CpmSink *sink, CpmStatWindow window, uint64 first, const CounterSnapshot *reset,
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
	(void) take_snapshot(&copy, sink->now, latest_max_us);
	save_snapshot(sink, window, &copy, reset);
}

static void
save_windows(CpmSink *sink)
{
	Reset		reset;
	int64		latest_us = cpm_slots_tick_max_us(cpm_slots_tick());

	copy_reset(&reset);
	save_snapshot(sink, CPM_SINCE_RESET, &reset.counters, &reset.counters);
	save_ring(sink, CPM_LAST_MINUTE, reset.first_of_minute, &reset.counters, latest_us);
	save_ring(sink, CPM_LAST_HOUR, reset.first_of_hour, &reset.counters,
			  Max(latest_us, windows->minute_max_us));
}

/*
 * Load a snapshot. The first one in the file has the counters at the reset. It becomes the first
 * one of both rings, so that a window begins at the reset if no later snapshot is old enough.
 */
static void
load_snapshot(const void *record)
{
	const SavedSnapshot *saved = record;

	if (saved->window == CPM_SINCE_RESET)
	{
		pg_atomic_write_u64(&windows->minute.next, 0);
		pg_atomic_write_u64(&windows->hour.next, 0);
		windows->reset.counters.at = saved->snapshot.at;
	}
	if (saved->window != CPM_LAST_HOUR)
		append_snapshot(&windows->minute, windows->minute_snapshot, &saved->snapshot);
	if (saved->window != CPM_LAST_MINUTE)
		append_snapshot(&windows->hour, windows->hour_snapshot, &saved->snapshot);
}

const CpmFilePart cpm_stat_windows_part = {
	"statistics windows", sizeof(SavedSnapshot), .save = save_windows, .load = load_snapshot,
	.time = {CPM_TIME(SavedSnapshot, snapshot.at)}
};

void
cpm_stat_windows_resume(void)
{
	CounterSnapshot loaded;

	(void) take_snapshot(&loaded, GetCurrentTimestamp(), 0);
	append_snapshot(&windows->minute, windows->minute_snapshot, &loaded);
	append_snapshot(&windows->hour, windows->hour_snapshot, &loaded);
}
