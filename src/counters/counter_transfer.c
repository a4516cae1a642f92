/* SPDX-License-Identifier: PostgreSQL */
/*
 * counter_transfer.c
 *		Around whatever moves counts between a session and its pool, or a session from
 *		one pool to another.
 *
 * What a session has counted is in its slot or in its pool, and a reader wants it once.
 * So whoever moves it says when he begins and when he is done, which costs two additions,
 * and a reader that met a move reads again. Where one follows the other all the time, the
 * reader asks for quiet: those who are about to begin wait, for the time of a reading.
 */
#include "postgres.h"

#include "base/clock.h"
#include "counters/counter_transfer.h"
#include "port/atomics.h"

/* For how long moves are put off when a reader asks for it: ten thousand pools are read in less. */
#define QUIET_US 20000

typedef struct Moves
{
	pg_atomic_uint64 begun;
	pg_atomic_uint64 done;
	pg_atomic_uint64 quiet_until;	/* of the monotonic clock; 0: nobody asks for it */
} Moves;

static Moves *moves;

Size
cpm_transfers_size(void)
{
	return sizeof(Moves);
}

void
cpm_transfers_attach(void *memory, bool is_new)
{
	moves = memory;
	if (!is_new)
		return;
	pg_atomic_init_u64(&moves->begun, 0);
	pg_atomic_init_u64(&moves->done, 0);
	pg_atomic_init_u64(&moves->quiet_until, 0);
}

void
cpm_transfer_begin(void)
{
	pg_atomic_fetch_add_u64(&moves->begun, 1);
}

void
cpm_transfer_end(void)
{
	pg_atomic_fetch_add_u64(&moves->done, 1);
}

void
cpm_transfers_pause(void)
{
	pg_atomic_write_u64(&moves->quiet_until, (uint64) (cpm_monotonic_us() + QUIET_US));
	pg_memory_barrier();
}

void
cpm_transfers_resume(void)
{
	pg_atomic_write_u64(&moves->quiet_until, 0);
}

/* Once is enough: a reader that asks again and again does not hold up anybody for longer. */
void
cpm_transfers_wait_for_pause(void)
{
	uint64		until = pg_atomic_read_u64(&moves->quiet_until);

	if (likely(until == 0))
		return;
	while (pg_atomic_read_u64(&moves->quiet_until) != 0 && (uint64) cpm_monotonic_us() < until)
		pg_usleep(QUIET_US / 200);
	/* who asked may have been ended before he could take it back */
	(void) pg_atomic_compare_exchange_u64(&moves->quiet_until, &until, 0);
}

bool
cpm_transfers_are_done(uint64 *count)
{
	/* done before begun: in the other order a move between the two would be missed */
	uint64		done;

	pg_memory_barrier();
	done = pg_atomic_read_u64(&moves->done);
	pg_memory_barrier();
	*count = pg_atomic_read_u64(&moves->begun);
	pg_memory_barrier();
	return *count == done;
}
