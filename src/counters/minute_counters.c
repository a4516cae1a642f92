/* SPDX-License-Identifier: PostgreSQL */
/*
 * minute_counters.c
 *		Counters as of a minute ago, to compute the metrics of the last minute.
 *
 * The sampler writes a ring of snapshots that are about a second apart. Readers take no lock: they
 * copy an entry and then check whether the sampler has overwritten it meanwhile. The postmaster
 * writes the first snapshot when the server starts.
 *
 * A reset must not write the sampler's ring, so it records the counters separately. Counters never
 * fall. So if a counter of the reset is higher than that of the snapshot, the reset came later,
 * and readers return the counter of the reset.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/seqlock.h"
#include "counters/minute_counters.h"
#include "port/atomics.h"

#define RING_ENTRIES 128		/* more than a minute of snapshots, and the one being written */
#define KEEP_EVERY_US (USECS_PER_SEC * 9 / 10)	/* a second, minus a tolerance for samples that
												 * are early */
#define MINUTE_US (60 * USECS_PER_SEC)

/* Written by the sampler, and by the postmaster at startup. */
typedef struct MinuteRing
{
	pg_atomic_uint64 next;		/* number of the next snapshot, from 0 */
	CpmCounters entry[RING_ENTRIES];	/* snapshot n is at n % RING_ENTRIES */
	CpmSeqlock	reset_lock;		/* guards at_reset */
	CpmCounters at_reset;		/* resets write it; zero before the first one */
} MinuteRing;

static MinuteRing *ring;

Size
cpm_minute_counters_size(void)
{
	return sizeof(MinuteRing);
}

void
cpm_minute_counters_attach(void *memory, bool is_new)
{
	ring = memory;
	if (is_new)
	{
		memset(ring, 0, sizeof(*ring));
		ring->entry[0].at_us = cpm_monotonic_us();
		pg_atomic_init_u64(&ring->next, 1);
		cpm_seqlock_init(&ring->reset_lock);
	}
}

void
cpm_minute_counters_init(const CpmCounters *now)
{
	ring->entry[0] = *now;
}

void
cpm_minute_counters_snapshot(const CpmCounters *now)
{
	uint64		number = pg_atomic_read_u64(&ring->next);

	if (now->at_us - ring->entry[(number - 1) % RING_ENTRIES].at_us < KEEP_EVERY_US)
		return;

	/*
	 * The next write overwrites the oldest entry. A reader that has copied this entry discards
	 * the copy if it then finds that "next" is "number" or higher. The previous call set "next"
	 * to "number"; the barrier makes that visible before the entry changes.
	 */
	pg_write_barrier();
	ring->entry[number % RING_ENTRIES] = *now;
	pg_write_barrier();
	pg_atomic_write_u64(&ring->next, number + 1);
}

void
cpm_minute_counters_reset(const CpmCounters *now)
{
	cpm_seqlock_write_begin(&ring->reset_lock);
	ring->at_reset = *now;
	cpm_seqlock_write_end(&ring->reset_lock);
}

/* Raise the counters of a snapshot to those of the last reset. */
static CpmCounters
raise_to_reset(CpmCounters snapshot)
{
	CpmCounters reset;

	(void) cpm_seqlock_copy(&ring->reset_lock, &reset, &ring->at_reset, sizeof(reset));
	snapshot.refused_for_slots = Max(snapshot.refused_for_slots, reset.refused_for_slots);
	snapshot.sessions_opened = Max(snapshot.sessions_opened, reset.sessions_opened);
	for (int i = 0; i < CPM_COUNTS; i++)
		snapshot.queries.of[i] = Max(snapshot.queries.of[i], reset.queries.of[i]);
	return snapshot;
}

CpmCounters
cpm_minute_counters_read(void)
{
	int64		now_us = cpm_monotonic_us();
	uint64		next = pg_atomic_read_u64(&ring->next);
	CpmCounters oldest;

	pg_read_barrier();
	oldest = ring->entry[(next - 1) % RING_ENTRIES];
	for (uint64 i = 0; i < Min(next, RING_ENTRIES - 1); i++)
	{
		uint64		number = next - 1 - i;
		CpmCounters copy = ring->entry[number % RING_ENTRIES];

		pg_read_barrier();
		if (pg_atomic_read_u64(&ring->next) - number >= RING_ENTRIES)
			break;
		oldest = copy;
		if (now_us - copy.at_us >= MINUTE_US)
			break;
	}
	return raise_to_reset(oldest);
}
