/* SPDX-License-Identifier: PostgreSQL */
/*
 * ring.h
 *		A log of fixed size in shared memory that many write and nobody locks.
 *
 * A writer takes the next ticket by an atomic addition and marks its place as
 * busy while it copies the entry there; a place that another writer is still
 * busy with, a whole round later, loses the new entry rather than mixing two.
 * A reader takes an entry only when it bears its ticket before and after it was
 * copied. Writers may be without a PGPROC: no lock, no allocation, no error.
 */
#ifndef CPM_RING_H
#define CPM_RING_H

#include "base/stream.h"
#include "port/atomics.h"

typedef struct CpmRing
{
	pg_atomic_uint64 next;		/* ticket of the next entry; writers add */
	pg_atomic_uint64 first_shown;	/* older ones were reset; a reset writes */
	uint32		entries;		/* these two are set when it is made */
	Size		entry_size;
	/* entries follow, each behind its ticket */
} CpmRing;

typedef void (*CpmRingVisitor) (const void *entry, void *arg);

/* Bytes for so many entries, which may be none. */
extern Size cpm_ring_size(int entries, Size entry_size);

extern void cpm_ring_init(CpmRing *ring, int entries, Size entry_size);

/*
 * Copy an entry into the ring. Returns its ticket, or CPM_NO_TICKET if the entry was dropped
 * because the ring has no entries or another process was writing to the same place. Any
 * process; cannot fail.
 */
#define CPM_NO_TICKET PG_UINT64_MAX
extern uint64 cpm_ring_add(CpmRing *ring, const void *entry);

/*
 * Return a pointer into shared memory to the entry with that ticket, or NULL if it has been
 * reset or overwritten. Another process may overwrite it at any time, so update only atomics
 * in which a stray update is harmless.
 */
extern void *cpm_ring_entry(CpmRing *ring, uint64 ticket);

/*
 * Visit what the ring holds, newest first. buffer takes one entry; visited ones
 * are copies there. Those that are being written are left out.
 */
extern void cpm_ring_scan(CpmRing *ring, void *buffer, CpmRingVisitor visit, void *arg);

/*
 * Write what the ring holds, oldest first; and add what was written. buffer
 * takes one entry.
 */
extern void cpm_ring_save(CpmRing *ring, void *buffer, CpmSink *sink);
extern bool cpm_ring_load(CpmRing *ring, void *buffer, CpmSource *source);

/* What is there now is not shown any more. */
extern void cpm_ring_reset(CpmRing *ring);

#endif							/* CPM_RING_H */
