/*
 * refusals.c
 *		Refused connections: how many for which reason, and who the last were.
 *
 * Written by processes that are about to die, many at a time, most of them
 * without a PGPROC: an LWLock taken there works until it is contended and then
 * brings the cluster down. So each counter is an atomic, and a place in the log
 * is taken by adding to a ticket. An entry carries the ticket it was written
 * under; a reader takes only entries that have theirs before and after it
 * copied them.
 *
 * A reset does not zero what others add to: it moves a baseline that readers
 * subtract. Its writer is whoever calls connpool_reset().
 */
#include "postgres.h"

#include "port/atomics.h"
#include "store/refusals.h"

typedef struct RefusalCounter
{
	pg_atomic_uint64 total;		/* since the server started; everybody adds */
	pg_atomic_uint64 last_seen; /* a TimestampTz; the last to write wins */
	pg_atomic_uint64 baseline;	/* of total, at the last reset */
} RefusalCounter;

typedef struct RefusalEntry
{
	pg_atomic_uint64 ticket;	/* its number plus one; 0 while it is written */
	CpmRefused	refused;
} RefusalEntry;

typedef struct Refusals
{
	RefusalCounter counter[CPM_REFUSALS];
	pg_atomic_uint64 next;		/* ticket of the next entry */
	pg_atomic_uint64 log_baseline;	/* the first ticket that is shown */
	RefusalEntry entry[CPM_REFUSAL_LOG_ENTRIES];	/* n stands at n % ENTRIES */
} Refusals;

static Refusals *refusals;

Size
cpm_refusals_size(void)
{
	return sizeof(Refusals);
}

void
cpm_refusals_attach(void *memory, bool is_new)
{
	refusals = memory;
	if (!is_new)
		return;

	memset(refusals, 0, sizeof(*refusals));
	for (int i = 0; i < CPM_REFUSALS; i++)
	{
		pg_atomic_init_u64(&refusals->counter[i].total, 0);
		pg_atomic_init_u64(&refusals->counter[i].last_seen, 0);
		pg_atomic_init_u64(&refusals->counter[i].baseline, 0);
	}
	pg_atomic_init_u64(&refusals->next, 0);
	pg_atomic_init_u64(&refusals->log_baseline, 0);
	for (int i = 0; i < CPM_REFUSAL_LOG_ENTRIES; i++)
		pg_atomic_init_u64(&refusals->entry[i].ticket, 0);
}

void
cpm_refusals_add(const CpmRefused *refused)
{
	RefusalCounter *counter = &refusals->counter[refused->reason];
	uint64		ticket;
	RefusalEntry *entry;

	pg_atomic_write_u64(&counter->last_seen, (uint64) refused->at);
	pg_atomic_fetch_add_u64(&counter->total, 1);

	ticket = pg_atomic_fetch_add_u64(&refusals->next, 1);
	entry = &refusals->entry[ticket % CPM_REFUSAL_LOG_ENTRIES];
	pg_atomic_write_u64(&entry->ticket, 0);
	pg_write_barrier();
	entry->refused = *refused;
	pg_write_barrier();
	pg_atomic_write_u64(&entry->ticket, ticket + 1);
}

CpmRefusalCount
cpm_refusals_count(CpmRefusal reason)
{
	CpmRefusalCount count = {0};
	RefusalCounter *counter;

	if (refusals == NULL)
		return count;
	counter = &refusals->counter[reason];
	count.count = pg_atomic_read_u64(&counter->total) - pg_atomic_read_u64(&counter->baseline);
	if (count.count > 0)
		count.last_seen = (TimestampTz) pg_atomic_read_u64(&counter->last_seen);
	return count;
}

uint64
cpm_refusals_for_slots(void)
{
	if (refusals == NULL)
		return 0;
	return pg_atomic_read_u64(&refusals->counter[CPM_REFUSED_TOO_MANY].total) +
		pg_atomic_read_u64(&refusals->counter[CPM_REFUSED_RESERVED].total);
}

TimestampTz
cpm_refusals_last_for_slots(void)
{
	if (refusals == NULL)
		return 0;
	return (TimestampTz)
		Max(pg_atomic_read_u64(&refusals->counter[CPM_REFUSED_TOO_MANY].last_seen),
			pg_atomic_read_u64(&refusals->counter[CPM_REFUSED_RESERVED].last_seen));
}

/* Copy the entry of that ticket; false when it is another's, or half written. */
static bool
copy_entry(uint64 ticket, CpmRefused *copy)
{
	RefusalEntry *entry = &refusals->entry[ticket % CPM_REFUSAL_LOG_ENTRIES];

	if (pg_atomic_read_u64(&entry->ticket) != ticket + 1)
		return false;
	pg_read_barrier();
	*copy = entry->refused;
	pg_read_barrier();
	return pg_atomic_read_u64(&entry->ticket) == ticket + 1;
}

void
cpm_refusals_log_scan(CpmRefusedVisitor visit, void *arg)
{
	uint64		next;
	uint64		first;
	CpmRefused	copy;

	if (refusals == NULL)
		return;
	next = pg_atomic_read_u64(&refusals->next);
	first = next > CPM_REFUSAL_LOG_ENTRIES ? next - CPM_REFUSAL_LOG_ENTRIES : 0;
	first = Max(first, pg_atomic_read_u64(&refusals->log_baseline));
	for (uint64 i = next; i > first; i--)
		if (copy_entry(i - 1, &copy))
			visit(&copy, arg);
}

void
cpm_refusals_reset(void)
{
	for (int i = 0; i < CPM_REFUSALS; i++)
		pg_atomic_write_u64(&refusals->counter[i].baseline,
							pg_atomic_read_u64(&refusals->counter[i].total));
	pg_atomic_write_u64(&refusals->log_baseline, pg_atomic_read_u64(&refusals->next));
}
