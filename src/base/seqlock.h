/* SPDX-License-Identifier: PostgreSQL */
/*
 * seqlock.h
 *		One writer, readers that never block it.
 *
 * The writer makes the counter odd, changes what it guards, makes it even
 * again. A reader copies between two reads of the counter and takes the copy
 * only if both are the same even number. The writer must not raise an error in
 * between; should it die there all the same, its successor calls
 * cpm_seqlock_repair() before its first write.
 */
#ifndef CPM_SEQLOCK_H
#define CPM_SEQLOCK_H

#include "miscadmin.h"
#include "port/atomics.h"

#define CPM_SEQLOCK_TRIES 1100	/* a hundred at once, and a second of waiting */

typedef struct CpmSeqlock
{
	pg_atomic_uint32 change;	/* odd while the writer is inside */
} CpmSeqlock;

static inline void
cpm_seqlock_init(CpmSeqlock *lock)
{
	pg_atomic_init_u32(&lock->change, 0);
}

static inline void
cpm_seqlock_write_begin(CpmSeqlock *lock)
{
	pg_atomic_write_u32(&lock->change, pg_atomic_read_u32(&lock->change) + 1);
	pg_write_barrier();
}

static inline void
cpm_seqlock_write_end(CpmSeqlock *lock)
{
	pg_write_barrier();
	pg_atomic_write_u32(&lock->change, pg_atomic_read_u32(&lock->change) + 1);
}

static inline void
cpm_seqlock_repair(CpmSeqlock *lock)
{
	if (pg_atomic_read_u32(&lock->change) & 1)
		cpm_seqlock_write_end(lock);
}

static inline uint32
cpm_seqlock_read_begin(CpmSeqlock *lock)
{
	uint32		before = pg_atomic_read_u32(&lock->change);

	pg_read_barrier();
	return before;
}

/* Is what was copied since read_begin() whole? If not, copy again. */
static inline bool
cpm_seqlock_read_ok(CpmSeqlock *lock, uint32 before)
{
	pg_read_barrier();
	return (before & 1) == 0 && pg_atomic_read_u32(&lock->change) == before;
}

/*
 * Copy what is guarded. A writer that was stopped inside, by a signal or at an immediate
 * stop, must not make the reader hang with it: after a second of waiting what was copied
 * last must do, torn as it may be. May be interrupted where that is allowed.
 */
static inline void
cpm_seqlock_copy(CpmSeqlock *lock, void *copy, const void *guarded, size_t size)
{
	for (int tries = 0; tries < CPM_SEQLOCK_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(lock);

		memcpy(copy, guarded, size);
		if (cpm_seqlock_read_ok(lock, before))
			return;
		CHECK_FOR_INTERRUPTS();
		if (tries > 100)
			pg_usleep(1000);
	}
}

#endif							/* CPM_SEQLOCK_H */
