/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_windows.c
 *		What had been counted of statements when the last minute, the last hour
 *		and the time since the last reset began.
 *
 * The sampler keeps a snapshot of all counters every ten seconds, and every
 * sixth for an hour; a period is the difference between now and the newest
 * snapshot that is old enough. Rings are as in counters/minute_counters: one writer, and
 * readers who look afterwards whether it came round to what they copied. The
 * first snapshot of each is the server's start, when all were zero.
 *
 * A maximum is no difference: each snapshot bears the longest statement since
 * the one before it, which sessions note by ticks (counters/backend_counters). A statement
 * that ends in the very moment of a snapshot may be missing from it.
 */
#include "postgres.h"

#include "base/histogram.h"
#include "base/query_counts.h"
#include "base/seqlock.h"
#include "counters/backend_counters.h"
#include "counters/stat_windows.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/timestamp.h"

#define SNAPSHOT_US (10 * USECS_PER_SEC)
#define EARLY_US (USECS_PER_SEC / 2)	/* a round may come a little early */
#define SNAPSHOTS_PER_MINUTE 6
#define SHORT_RING 24			/* more than a minute of snapshots, and two for each of some
								 * restarts */
#define LONG_RING 96			/* more than an hour of minutes, the same */

typedef struct CounterSnapshot
{
	TimestampTz at;
	CpmQueryCounts counts;
	CpmHistogram histogram;
	int64		max_us;			/* since the snapshot before */
} CounterSnapshot;

typedef struct SnapshotRing
{
	pg_atomic_uint64 next;		/* number of snapshots ever kept; the sampler writes */
	int64		length_us;		/* of the period that it is for */
	int			size;
} SnapshotRing;

/* The time since the last reset, and which snapshots are of it. */
typedef struct Reset
{
	CounterSnapshot standing;
	uint64		first_of_minute;	/* numbers in the rings */
	uint64		first_of_hour;
} Reset;

typedef struct Periods
{
	SnapshotRing minute;
	CounterSnapshot minute_snapshot[SHORT_RING];
	SnapshotRing hour;
	CounterSnapshot hour_snapshot[LONG_RING];
	int64		minute_max_us;	/* of the minute under way; the sampler's own */
	CpmSeqlock	reset_lock;		/* guards reset, written by who holds the lock for resets */
	Reset		reset;
} Periods;

static Periods *periods;

/* The longest statement since the last snapshot of each ring, as loaded; of the postmaster. */
static int64 unsnapped_us[2];

Size
cpm_stat_windows_size(void)
{
	return sizeof(Periods);
}

static void
init_snapshots(SnapshotRing *ring, CounterSnapshot *snapshots, int size, int64 length_us, TimestampTz now)
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

	periods = memory;
	if (!is_new)
		return;
	memset(periods, 0, sizeof(*periods));
	init_snapshots(&periods->minute, periods->minute_snapshot, SHORT_RING, 60 * USECS_PER_SEC, now);
	init_snapshots(&periods->hour, periods->hour_snapshot, LONG_RING, 3600 * USECS_PER_SEC, now);
	cpm_seqlock_init(&periods->reset_lock);
	periods->reset.standing.at = now;
}

static void
take_snapshot(CounterSnapshot *snapshot, TimestampTz now, int64 max_us)
{
	snapshot->at = now;
	snapshot->counts = cpm_slots_counts();
	cpm_slots_histogram(&snapshot->histogram);
	snapshot->max_us = max_us;
}

static void
append_snapshot(SnapshotRing *ring, CounterSnapshot *snapshots, const CounterSnapshot *snapshot)
{
	uint64		number = pg_atomic_read_u64(&ring->next);

	pg_write_barrier();			/* as in cpm_sample_ring_append() */
	snapshots[number % ring->size] = *snapshot;
	pg_write_barrier();
	pg_atomic_write_u64(&ring->next, number + 1);
}

void
cpm_stat_windows_snapshot(TimestampTz now)
{
	static CounterSnapshot snapshot;	/* of the sampler's process, to keep it off the stack */
	uint64		number = pg_atomic_read_u64(&periods->minute.next);
	TimestampTz newest = periods->minute_snapshot[(number - 1) % SHORT_RING].at;
	uint32		tick = cpm_slots_tick();

	/* a clock that was set back starts anew rather than waiting to catch up */
	if (now >= newest && now - newest < SNAPSHOT_US - EARLY_US)
		return;
	cpm_slots_next_tick();
	take_snapshot(&snapshot, now, cpm_slots_tick_max_us(tick));
	append_snapshot(&periods->minute, periods->minute_snapshot, &snapshot);

	periods->minute_max_us = Max(periods->minute_max_us, snapshot.max_us);
	if (number % SNAPSHOTS_PER_MINUTE == 0)
	{
		snapshot.max_us = periods->minute_max_us;
		append_snapshot(&periods->hour, periods->hour_snapshot, &snapshot);
		periods->minute_max_us = 0;
	}
}

/*
 * Return the number of the snapshot at which the ring's period begins: the newest snapshot that
 * is old enough, or else the oldest usable one. A snapshot or reset that is dated in the future
 * was taken before the clock was set back, and is not usable because its age is unknown. A
 * result below first means that the period begins at the reset. Sets *max_us to the longest
 * statement of the period.
 */
static uint64
beginning_of(const SnapshotRing *ring, const CounterSnapshot *snapshots, uint64 next, TimestampTz now,
			 uint64 first, TimestampTz reset_at, int64 *max_us)
{
	uint64		number = next - 1;

	*max_us = 0;
	for (uint64 i = 0; i < Min(next, (uint64) ring->size - 1); i++)
	{
		const CounterSnapshot *snapshot = &snapshots[(next - 1 - i) % ring->size];
		TimestampTz at = next - 1 - i < first ? reset_at : snapshot->at;

		if (i > 0 && at > now + SNAPSHOT_US)
			break;
		number = next - 1 - i;
		if (number < first || now - snapshot->at >= ring->length_us)
			break;
		*max_us = Max(*max_us, snapshot->max_us);
	}
	return number;
}

/* Copy the snapshot at which the period begins; returns false if it begins at the reset. */
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
	cpm_seqlock_copy(&periods->reset_lock, reset, &periods->reset, sizeof(*reset));
}

TimestampTz
cpm_stat_windows_reset_at(void)
{
	TimestampTz at;

	if (periods == NULL)
		return 0;
	cpm_seqlock_copy(&periods->reset_lock, &at, &periods->reset.standing.at, sizeof(at));
	return at;
}

/* The same for the last hour. Its ring lacks the minute under way, which is in the other. */
static bool
find_hour(TimestampTz now, const Reset *reset, CounterSnapshot *then, int64 *max_us)
{
	CounterSnapshot *minute = palloc(sizeof(CounterSnapshot));
	int64		latest_us;
	bool		is_found_in_minute = find_beginning(&periods->minute, periods->minute_snapshot, now,
													reset->first_of_minute, reset->standing.at,
													minute, &latest_us);
	bool		is_found = find_beginning(&periods->hour, periods->hour_snapshot, now,
										  reset->first_of_hour, reset->standing.at, then, max_us);

	*max_us = Max(*max_us, latest_us);
	/* the clock was set back, and the ring of the hour has no snapshot since then */
	if ((is_found ? then->at : reset->standing.at) > now + SNAPSHOT_US && is_found_in_minute)
	{
		*then = *minute;
		*max_us = latest_us;
		is_found = true;
	}
	pfree(minute);
	return is_found;
}

void
cpm_stat_window_read(CpmStatWindow period, TimestampTz now, CpmStatWindowCounts *stats)
{
	CounterSnapshot *then = palloc(sizeof(CounterSnapshot));
	Reset	   *reset = palloc(sizeof(Reset));
	bool		is_found = false;

	copy_reset(reset);
	if (period == CPM_LAST_MINUTE)
		is_found = find_beginning(&periods->minute, periods->minute_snapshot, now,
								  reset->first_of_minute, reset->standing.at, then, &stats->max_us);
	else if (period == CPM_LAST_HOUR)
		is_found = find_hour(now, reset, then, &stats->max_us);
	if (!is_found)
		*then = reset->standing;

	/* the same maximum for all where a period is the whole time */
	if (then->at == reset->standing.at)
		stats->max_us = cpm_slots_max_us();
	else
		stats->max_us = Max(stats->max_us, cpm_slots_tick_max_us(cpm_slots_tick()));
	stats->since = then->at;
	stats->counts = cpm_slots_counts();
	cpm_query_counts_subtract(&stats->counts, &then->counts);
	cpm_slots_histogram(&stats->histogram);
	cpm_histogram_subtract(&stats->histogram, &then->histogram);
	pfree(then);
	pfree(reset);
}

void
cpm_stat_windows_reset(TimestampTz now)
{
	Reset	   *reset = palloc(sizeof(Reset));

	cpm_slots_reset_max();
	reset->first_of_minute = pg_atomic_read_u64(&periods->minute.next);
	reset->first_of_hour = pg_atomic_read_u64(&periods->hour.next);
	take_snapshot(&reset->standing, now, 0);
	cpm_seqlock_repair(&periods->reset_lock);
	cpm_seqlock_write_begin(&periods->reset_lock);
	periods->reset = *reset;
	cpm_seqlock_write_end(&periods->reset_lock);
	pfree(reset);
}

/* Snapshots as differences to the last reset; those before it are of no more use. */
static void
save_ring(CpmSink *sink, SnapshotRing *ring, const CounterSnapshot *snapshots, uint64 first,
		  const CounterSnapshot *reset)
{
	uint64		next = pg_atomic_read_u64(&ring->next);
	uint64		oldest = next >= (uint64) ring->size ? next - ring->size + 1 : 0;
	CounterSnapshot copy;

	for (uint64 i = Max(first, oldest); i < next; i++)
	{
		copy = snapshots[i % ring->size];
		pg_read_barrier();
		if (pg_atomic_read_u64(&ring->next) - i >= (uint64) ring->size)
			continue;
		cpm_query_counts_subtract(&copy.counts, &reset->counts);
		cpm_histogram_subtract(&copy.histogram, &reset->histogram);
		cpm_put_more(sink, true);
		cpm_put_u64(sink, (uint64) copy.at);
		cpm_put_u64(sink, (uint64) copy.max_us);
		cpm_put(sink, &copy.counts, sizeof(copy.counts));
		cpm_put_histogram(sink, &copy.histogram);
	}
	cpm_put_more(sink, false);
}

void
cpm_stat_windows_save(CpmSink *sink)
{
	Reset		reset;
	int64		latest_us = cpm_slots_tick_max_us(cpm_slots_tick());

	copy_reset(&reset);
	cpm_put_u64(sink, (uint64) reset.standing.at);
	cpm_put_u64(sink, (uint64) latest_us);
	cpm_put_u64(sink, (uint64) Max(latest_us, periods->minute_max_us));
	save_ring(sink, &periods->minute, periods->minute_snapshot, reset.first_of_minute, &reset.standing);
	save_ring(sink, &periods->hour, periods->hour_snapshot, reset.first_of_hour, &reset.standing);
}

/* The reset comes first: a period that no snapshot is old enough for begins there. */
static void
load_ring(CpmSource *source, SnapshotRing *ring, CounterSnapshot *snapshots, TimestampTz reset_at)
{
	CounterSnapshot loaded = {.at = reset_at};

	if (!source->validate_only)
	{
		pg_atomic_write_u64(&ring->next, 0);
		append_snapshot(ring, snapshots, &loaded);
	}
	while (cpm_get_more(source))
	{
		loaded.at = (TimestampTz) cpm_get_u64(source);
		loaded.max_us = (int64) cpm_get_u64(source);
		(void) cpm_get(source, &loaded.counts, sizeof(loaded.counts));
		if (cpm_get_histogram(source, &loaded.histogram) && !source->validate_only)
			append_snapshot(ring, snapshots, &loaded);
	}
}

bool
cpm_stat_windows_load(CpmSource *source)
{
	TimestampTz reset_at = (TimestampTz) cpm_get_u64(source);

	unsnapped_us[0] = (int64) cpm_get_u64(source);
	unsnapped_us[1] = (int64) cpm_get_u64(source);
	load_ring(source, &periods->minute, periods->minute_snapshot, reset_at);
	load_ring(source, &periods->hour, periods->hour_snapshot, reset_at);
	if (source->failed || source->validate_only)
		return !source->failed;
	memset(&periods->reset, 0, sizeof(periods->reset));
	periods->reset.standing.at = reset_at;
	return true;
}

/* Nothing was counted between the moment of saving and now. */
void
cpm_stat_windows_resume(TimestampTz saved_at)
{
	CounterSnapshot standing;

	take_snapshot(&standing, saved_at, unsnapped_us[0]);
	append_snapshot(&periods->minute, periods->minute_snapshot, &standing);
	standing.max_us = unsnapped_us[1];
	append_snapshot(&periods->hour, periods->hour_snapshot, &standing);

	standing.at = GetCurrentTimestamp();
	standing.max_us = 0;
	append_snapshot(&periods->minute, periods->minute_snapshot, &standing);
	append_snapshot(&periods->hour, periods->hour_snapshot, &standing);
}
