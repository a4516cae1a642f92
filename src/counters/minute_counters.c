/* SPDX-License-Identifier: PostgreSQL */
/*
 * minute_counters.c
 *		What counters were a minute ago, for the metrics of the last minute.
 *
 * A ring of snapshots a second or more apart, written by the sampler. Readers
 * copy an entry and look afterwards whether the writer came round to it, as in
 * samples/sample_ring. The first entry is the server's start, when all were zero.
 */
#include "postgres.h"

#include "counters/minute_counters.h"
#include "port/atomics.h"
#include "utils/timestamp.h"

#define RING_ENTRIES 128		/* more than a minute's and the one being written */
#define KEEP_EVERY_US (USECS_PER_SEC * 9 / 10)	/* a round may come a little early */
#define MINUTE_US (60 * USECS_PER_SEC)

typedef struct Recent
{
	pg_atomic_uint64 next;		/* number of snapshots ever kept */
	CpmCounters entry[RING_ENTRIES];	/* n stands at n % RING_ENTRIES */
} Recent;

static Recent *recent;

Size
cpm_minute_counters_size(void)
{
	return sizeof(Recent);
}

void
cpm_minute_counters_attach(void *memory, bool is_new)
{
	recent = memory;
	if (is_new)
	{
		memset(recent, 0, sizeof(*recent));
		recent->entry[0].at = GetCurrentTimestamp();
		pg_atomic_init_u64(&recent->next, 1);
	}
}

void
cpm_minute_counters_init(const CpmCounters *now)
{
	recent->entry[0] = *now;
}

void
cpm_minute_counters_snapshot(const CpmCounters *now)
{
	uint64		number = pg_atomic_read_u64(&recent->next);
	TimestampTz newest = recent->entry[(number - 1) % RING_ENTRIES].at;

	/* a clock that was set back starts anew rather than waiting to catch up */
	if (now->at >= newest && now->at - newest < KEEP_EVERY_US)
		return;
	pg_write_barrier();			/* as in cpm_sample_ring_append() */
	recent->entry[number % RING_ENTRIES] = *now;
	pg_write_barrier();
	pg_atomic_write_u64(&recent->next, number + 1);
}

CpmCounters
cpm_counters_minute_ago(TimestampTz now)
{
	uint64		next = pg_atomic_read_u64(&recent->next);
	CpmCounters oldest = recent->entry[(next - 1) % RING_ENTRIES];

	pg_read_barrier();
	for (uint64 i = 0; i < Min(next, RING_ENTRIES - 1); i++)
	{
		uint64		number = next - 1 - i;
		CpmCounters copy = recent->entry[number % RING_ENTRIES];

		pg_read_barrier();
		if (pg_atomic_read_u64(&recent->next) - number >= RING_ENTRIES)
			break;
		/* taken before the clock was set back, so its age is unknown */
		if (copy.at > now + KEEP_EVERY_US)
			break;
		oldest = copy;
		if (now - copy.at >= MINUTE_US)
			break;
	}
	return oldest;
}
