/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_counters.c
 *		Server-wide counters of sessions: opened, open, their durations and setup times.
 *
 * Each session adds to atomics when it opens and when it ends. Counters of a single pool are in
 * counters/pool_counters.
 */
#include "postgres.h"

#include "base/histogram.h"
#include "base/set_back.h"
#include "counters/backend_counters.h"
#include "counters/session_counters.h"
#include "port/atomics.h"

typedef struct SessionCounts
{
	/* sessions add to these; no lock */
	pg_atomic_uint64 opened;
	pg_atomic_uint32 open;		/* now */
	pg_atomic_uint32 peak;		/* highest value of "open" since the sampler last called
								 * cpm_sessions_take_peak() */
	pg_atomic_uint64 setup[CPM_BUCKETS];
	pg_atomic_uint64 duration[CPM_BUCKETS];

	/* values at the last reset, which writes them; readers may see a partial write */
	CpmHistogram setup_baseline;
	CpmHistogram duration_baseline;
} SessionCounts;

typedef struct SavedSessions
{
	uint64		opened;
	CpmHistogram setup;
	CpmHistogram duration;
} SavedSessions;

static SessionCounts *counts;

Size
cpm_session_counters_size(void)
{
	return sizeof(SessionCounts);
}

void
cpm_session_counters_attach(void *memory, bool is_new)
{
	counts = memory;
	if (!is_new)
		return;
	memset(counts, 0, sizeof(*counts));
	pg_atomic_init_u64(&counts->opened, 0);
	pg_atomic_init_u32(&counts->open, 0);
	pg_atomic_init_u32(&counts->peak, 0);
	for (int i = 0; i < CPM_BUCKETS; i++)
	{
		pg_atomic_init_u64(&counts->setup[i], 0);
		pg_atomic_init_u64(&counts->duration[i], 0);
	}
}

void
cpm_session_opened(int64 setup_us)
{
	uint32		open = pg_atomic_add_fetch_u32(&counts->open, 1);
	uint32		peak = pg_atomic_read_u32(&counts->peak);

	while (peak < open)
		if (pg_atomic_compare_exchange_u32(&counts->peak, &peak, open))
			break;
	pg_atomic_fetch_add_u64(&counts->opened, 1);
	pg_atomic_fetch_add_u64(&counts->setup[cpm_bucket_of(setup_us)], 1);
}

void
cpm_session_ended(int64 duration_us)
{
	pg_atomic_fetch_sub_u32(&counts->open, 1);
	pg_atomic_fetch_add_u64(&counts->duration[cpm_bucket_of(duration_us)], 1);
}

uint64
cpm_sessions_opened(void)
{
	return counts ? pg_atomic_read_u64(&counts->opened) : 0;
}

static void
copy_buckets(pg_atomic_uint64 *buckets, CpmHistogram *histogram)
{
	for (int i = 0; i < CPM_BUCKETS; i++)
		histogram->count[i] = pg_atomic_read_u64(&buckets[i]);
}

void
cpm_session_histograms(CpmHistogram *setup, CpmHistogram *duration)
{
	copy_buckets(counts->setup, setup);
	cpm_histogram_subtract(setup, &counts->setup_baseline);
	copy_buckets(counts->duration, duration);
	cpm_histogram_subtract(duration, &counts->duration_baseline);
}

void
cpm_session_counters_reset(void)
{
	copy_buckets(counts->setup, &counts->setup_baseline);
	copy_buckets(counts->duration, &counts->duration_baseline);
}

uint32
cpm_sessions_take_peak(void)
{
	return pg_atomic_exchange_u32(&counts->peak, pg_atomic_read_u32(&counts->open));
}

static void
add_open_sessions(CpmHistogram *duration, TimestampTz now)
{
	CpmSlotSession session;

	for (int i = 0; i < cpm_backend_slots(); i++)
		if (cpm_slot_session(i, &session))
		{
			TimestampTz since = cpm_corrected_time(i, CPM_TIME_CONNECTED, session.started_at);

			duration->count[cpm_bucket_of(Max(now - since, 0))]++;
		}
}

static void
save_session_counters(CpmSink *sink)
{
	SavedSessions saved = {.opened = cpm_sessions_opened()};

	cpm_session_histograms(&saved.setup, &saved.duration);
	add_open_sessions(&saved.duration, sink->now);
	cpm_put(sink, &saved);
}

static void
load_session_counters(const void *record)
{
	const SavedSessions *saved = record;

	pg_atomic_write_u64(&counts->opened, saved->opened);
	for (int i = 0; i < CPM_BUCKETS; i++)
	{
		pg_atomic_write_u64(&counts->setup[i], saved->setup.count[i]);
		pg_atomic_write_u64(&counts->duration[i], saved->duration.count[i]);
	}
}

const CpmFilePart cpm_session_counters_part = {
	"session counters", sizeof(SavedSessions),
	.save = save_session_counters, .load = load_session_counters
};
