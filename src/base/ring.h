/* SPDX-License-Identifier: PostgreSQL */
/*
 * ring.h
 *		A lock-free log of fixed size in shared memory, with many writers.
 *
 * Writers include the log hook, which may run before its process has a PGPROC and must not lock,
 * allocate or raise an error.
 *
 * A writer takes the next ticket by an atomic addition, marks the ticket's slot as busy, copies
 * the entry and then stores its ticket. If another writer, a full round behind, is still copying
 * to that slot, the new entry is dropped, so that two entries are never mixed. If a writer is
 * delayed for a full round before it marks the slot, it overwrites a newer entry, and readers skip
 * the slot. A reader copies the entry and discards the copy unless the slot had the expected
 * ticket both before and after.
 */
#ifndef CPM_RING_H
#define CPM_RING_H

#include "base/stream.h"
#include "port/atomics.h"

typedef struct CpmRing
{
	pg_atomic_uint64 next;		/* ticket of the next entry; any writer increments it */
	pg_atomic_uint64 first_shown;	/* readers skip lower tickets; cpm_ring_reset() writes it */
	uint32		entries;		/* capacity; constant after cpm_ring_init() */
	Size		entry_size;		/* likewise constant */
	/* the entries follow, each preceded by its ticket */
} CpmRing;

typedef void (*CpmRingVisitor) (const void *entry, void *arg);

/* Return the bytes needed for a number of entries, which may be 0. */
extern Size cpm_ring_size(int entries, Size entry_size);

/* Initialize an empty ring in new shared memory. */
extern void cpm_ring_init(CpmRing *ring, int entries, Size entry_size);

#define CPM_NO_TICKET PG_UINT64_MAX

/*
 * Copy an entry into the ring. Returns its ticket, or CPM_NO_TICKET if the entry was dropped
 * because the ring has no entries or another process was writing to the same slot. Any process;
 * takes no lock and raises no error.
 */
extern uint64 cpm_ring_add(CpmRing *ring, const void *entry);

/*
 * Return a pointer into shared memory to the entry with that ticket; NULL if it has been reset or
 * overwritten, or if the ticket is CPM_NO_TICKET. The capacity of the ring must not be 0. Another
 * process may overwrite the entry at any time, so the caller may update only its atomics, and only
 * if an update of the wrong entry does no harm.
 */
extern void *cpm_ring_entry(CpmRing *ring, uint64 ticket);

/*
 * Return the ticket of the next entry, and set *first to that of the oldest entry that is neither
 * overwritten nor reset. Any process.
 */
extern uint64 cpm_ring_next(CpmRing *ring, uint64 *first);

/*
 * Copy the entry with that ticket. Returns false if its slot has another ticket, or if a writer
 * replaced it meanwhile. Does not skip entries before a reset. Any process; no lock.
 */
extern bool cpm_ring_copy(CpmRing *ring, uint64 ticket, void *copy);

/*
 * Call visit for a copy of each entry, newest first. buffer has room for one entry. Skips entries
 * that a writer is replacing. Any process; no lock.
 */
extern void cpm_ring_scan(CpmRing *ring, void *buffer, CpmRingVisitor visit, void *arg);

/*
 * Write all entries to sink, oldest first. Skips entries that a writer is replacing. Allocates
 * memory; no lock.
 */
extern void cpm_ring_save(CpmRing *ring, CpmSink *sink);

/*
 * Call cpm_correct_record_times() for each entry, because the clock was set back by setback_us.
 * Skips entries that a writer is replacing. Readers and cpm_ring_entry() do not find an entry
 * while it is corrected. Any process; no lock.
 */
extern void cpm_ring_correct_times(CpmRing *ring, const CpmFileField *time, TimestampTz now,
								   int64 setback_us);

/* Hide all entries added so far from readers. */
extern void cpm_ring_reset(CpmRing *ring);

#endif							/* CPM_RING_H */
