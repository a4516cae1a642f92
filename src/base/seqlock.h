/* SPDX-License-Identifier: PostgreSQL */
/*
 * seqlock.h
 *		A sequence lock: one writer at a time, and readers that never block it.
 *
 * The writer makes the change counter odd, modifies the guarded data and makes the counter even
 * again. A reader copies the data between two reads of the counter and retries unless both
 * returned the same even number.
 *
 * The caller ensures that there is one writer at a time, and that no error is raised between
 * write_begin and write_end: while the counter is odd, readers retry. If a writer nevertheless
 * ends between the two, its successor calls cpm_seqlock_repair() before its first write.
 */
#ifndef CPM_SEQLOCK_H
#define CPM_SEQLOCK_H

#include "miscadmin.h"
#include "port/atomics.h"

#define CPM_SEQLOCK_SPINS 100	/* reads without a pause */
#define CPM_SEQLOCK_TRIES 1100	/* reads in all; pauses of 1 ms make about a second */

typedef struct CpmSeqlock
{
	pg_atomic_uint32 change;	/* odd during a modification; only the writer sets it */
} CpmSeqlock;

static inline void
cpm_seqlock_init(CpmSeqlock *lock)
{
	pg_atomic_init_u32(&lock->change, 0);
}

/* Begin a modification. With a single writer, reading and writing suffice: no atomic addition. */
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

/* End a modification that a previous writer left unfinished. Called by its successor only. */
static inline void
cpm_seqlock_repair(CpmSeqlock *lock)
{
	if (pg_atomic_read_u32(&lock->change) & 1)
		cpm_seqlock_write_end(lock);
}

/* Begin to read. Returns the counter, to be passed to cpm_seqlock_read_ok(). */
static inline uint32
cpm_seqlock_read_begin(CpmSeqlock *lock)
{
	uint32		before = pg_atomic_read_u32(&lock->change);

	pg_read_barrier();
	return before;
}

/* Return true if the data read since cpm_seqlock_read_begin() is consistent; if not, retry. */
static inline bool
cpm_seqlock_read_ok(CpmSeqlock *lock, uint32 before)
{
	pg_read_barrier();
	return (before & 1) == 0 && pg_atomic_read_u32(&lock->change) == before;
}

/*
 * Copy the guarded data; retry until the copy is consistent. Gives up after about a second and
 * returns false, for example if the writer was stopped by a signal or ended during an immediate
 * shutdown. The copy may then be inconsistent. Processes interrupts between retries, so it may
 * raise an error.
 */
static inline bool
cpm_seqlock_copy(CpmSeqlock *lock, void *copy, const void *guarded, size_t size)
{
	for (int tries = 0; tries < CPM_SEQLOCK_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(lock);

		memcpy(copy, guarded, size);
		if (cpm_seqlock_read_ok(lock, before))
			return true;
		CHECK_FOR_INTERRUPTS();
		if (tries > CPM_SEQLOCK_SPINS)
			pg_usleep(1000);
	}
	return false;
}

#endif							/* CPM_SEQLOCK_H */
