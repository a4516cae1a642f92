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

#include "port/atomics.h"

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

#endif							/* CPM_SEQLOCK_H */
