/* SPDX-License-Identifier: PostgreSQL */
/*
 * ring.c
 *		A lock-free log of fixed size in shared memory, with many writers.
 */
#include "postgres.h"

#include "base/ring.h"

#define BUSY PG_UINT64_MAX

/* The header of an entry; the bytes of the entry follow. Writers set both without a lock. */
typedef struct RingSlot
{
	pg_atomic_uint64 ticket;	/* the entry's ticket + 1; 0: empty; BUSY: a writer is copying */
} RingSlot;

static Size
ring_slot_size(Size entry_size)
{
	return sizeof(RingSlot) + MAXALIGN(entry_size);
}

static RingSlot *
ring_slot_of(CpmRing *ring, uint64 ticket)
{
	return (RingSlot *) ((char *) ring + MAXALIGN(sizeof(CpmRing)) +
						 (ticket % ring->entries) * ring_slot_size(ring->entry_size));
}

Size
cpm_ring_size(int entries, Size entry_size)
{
	return MAXALIGN(sizeof(CpmRing)) + entries * ring_slot_size(entry_size);
}

void
cpm_ring_init(CpmRing *ring, int entries, Size entry_size)
{
	pg_atomic_init_u64(&ring->next, 0);
	pg_atomic_init_u64(&ring->first_shown, 0);
	ring->entries = entries;
	ring->entry_size = entry_size;
	for (int i = 0; i < entries; i++)
		pg_atomic_init_u64(&ring_slot_of(ring, i)->ticket, 0);
}

uint64
cpm_ring_add(CpmRing *ring, const void *entry)
{
	uint64		ticket;
	uint64		previous;
	RingSlot   *slot;

	if (ring->entries == 0)
		return CPM_NO_TICKET;
	ticket = pg_atomic_fetch_add_u64(&ring->next, 1);
	slot = ring_slot_of(ring, ticket);
	previous = pg_atomic_read_u64(&slot->ticket);
	/* drop the entry if another writer, a full round apart, has claimed the slot */
	if (previous == BUSY ||
		!pg_atomic_compare_exchange_u64(&slot->ticket, &previous, BUSY))
		return CPM_NO_TICKET;
	memcpy(slot + 1, entry, ring->entry_size);
	pg_write_barrier();
	pg_atomic_write_u64(&slot->ticket, ticket + 1);
	return ticket;
}

void *
cpm_ring_entry(CpmRing *ring, uint64 ticket)
{
	RingSlot   *slot = ring_slot_of(ring, ticket);

	/* CPM_NO_TICKET + 1 would match an empty slot */
	if (ticket == CPM_NO_TICKET ||
		ticket < pg_atomic_read_u64(&ring->first_shown) ||
		pg_atomic_read_u64(&slot->ticket) != ticket + 1)
		return NULL;
	return slot + 1;
}

bool
cpm_ring_copy(CpmRing *ring, uint64 ticket, void *buffer)
{
	RingSlot   *slot = ring_slot_of(ring, ticket);

	if (pg_atomic_read_u64(&slot->ticket) != ticket + 1)
		return false;
	pg_read_barrier();
	memcpy(buffer, slot + 1, ring->entry_size);
	pg_read_barrier();
	return pg_atomic_read_u64(&slot->ticket) == ticket + 1;
}

uint64
cpm_ring_next(CpmRing *ring, uint64 *first)
{
	uint64		next = pg_atomic_read_u64(&ring->next);

	*first = Max(next - Min(next, ring->entries), pg_atomic_read_u64(&ring->first_shown));
	return next;
}

void
cpm_ring_scan(CpmRing *ring, void *buffer, CpmRingVisitor visit, void *arg)
{
	uint64		first;
	uint64		next = cpm_ring_next(ring, &first);

	for (uint64 i = next; i > first; i--)
		if (cpm_ring_copy(ring, i - 1, buffer))
			visit(buffer, arg);
}

void
cpm_ring_save(CpmRing *ring, CpmSink *sink)
{
	uint64		first;
	uint64		next = cpm_ring_next(ring, &first);
	void	   *entry = palloc(ring->entry_size);

	for (uint64 i = first; i < next; i++)
		if (cpm_ring_copy(ring, i, entry))
			cpm_put(sink, entry);
	pfree(entry);
}

void
cpm_ring_correct_times(CpmRing *ring, const CpmFileField *time, TimestampTz now,
					   int64 setback_us)
{
	uint64		first;
	uint64		next = cpm_ring_next(ring, &first);

	for (uint64 i = first; i < next; i++)
	{
		RingSlot   *slot = ring_slot_of(ring, i);
		uint64		ticket = i + 1;

		if (!pg_atomic_compare_exchange_u64(&slot->ticket, &ticket, BUSY))
			continue;
		cpm_correct_record_times(slot + 1, time, now, setback_us);
		pg_write_barrier();
		pg_atomic_write_u64(&slot->ticket, i + 1);
	}
}

void
cpm_ring_reset(CpmRing *ring)
{
	pg_atomic_write_u64(&ring->first_shown, pg_atomic_read_u64(&ring->next));
}
