/* SPDX-License-Identifier: PostgreSQL */
/*
 * counter_transfer.c
 *		Brackets transfers of counters between a backend slot and its pool, or between
 *		two pools, so that readers notice them.
 *
 * A backend counts in its own slot and adds these counts to its pool when it leaves the pool.
 * A reader that sums slots and pools meanwhile could see a count twice or not at all.
 *
 * So writers increment "begun" before a transfer and "done" after it, which costs them two atomic
 * additions. A reader retries if it sees a transfer in progress, or a changed count after its
 * read. If transfers follow one another without a gap, the reader asks for a pause: sessions that
 * are about to begin a transfer wait until the reader has finished, for 20 ms at most.
 */
#include "postgres.h"

#include "base/clock.h"
#include "counters/counter_transfer.h"
#include "port/atomics.h"

#define PAUSE_US 20000			/* long enough to read ten thousand pools */

typedef struct Transfers
{
	pg_atomic_uint64 begun;		/* transfers ever begun; each writer adds */
	pg_atomic_uint64 done;		/* transfers ever ended; each writer adds */
	pg_atomic_uint64 pause_until;	/* us of the monotonic clock, 0 for no pause; readers set and
									 * clear it, waiting sessions clear it */
} Transfers;

static Transfers *transfers;

Size
cpm_transfers_size(void)
{
	return sizeof(Transfers);
}

void
cpm_transfers_attach(void *memory, bool is_new)
{
	transfers = memory;
	if (!is_new)
		return;
	pg_atomic_init_u64(&transfers->begun, 0);
	pg_atomic_init_u64(&transfers->done, 0);
	pg_atomic_init_u64(&transfers->pause_until, 0);
}

void
cpm_transfer_begin(void)
{
	pg_atomic_fetch_add_u64(&transfers->begun, 1);
}

void
cpm_transfer_end(void)
{
	pg_atomic_fetch_add_u64(&transfers->done, 1);
}

void
cpm_transfers_pause(void)
{
	pg_atomic_write_u64(&transfers->pause_until, (uint64) (cpm_monotonic_us() + PAUSE_US));
	pg_memory_barrier();
}

void
cpm_transfers_resume(void)
{
	pg_atomic_write_u64(&transfers->pause_until, 0);
}

void
cpm_transfers_wait_for_pause(void)
{
	/* read once, so that readers that extend the pause do not delay this session further */
	uint64		until = pg_atomic_read_u64(&transfers->pause_until);

	if (likely(until == 0))
		return;
	while (pg_atomic_read_u64(&transfers->pause_until) != 0 && (uint64) cpm_monotonic_us() < until)
		pg_usleep(PAUSE_US / 200);
	/* the reader may have been terminated before it could end the pause */
	(void) pg_atomic_compare_exchange_u64(&transfers->pause_until, &until, 0);
}

bool
cpm_transfers_are_done(uint64 *count)
{
	uint64		done;

	/* read "done" first: otherwise a transfer that begins between the reads would be missed */
	pg_memory_barrier();
	done = pg_atomic_read_u64(&transfers->done);
	pg_memory_barrier();
	*count = pg_atomic_read_u64(&transfers->begun);
	pg_memory_barrier();
	return *count == done;
}
