/*
 * refusals.c
 *		Refused connections: how many for which reason, and who the last were.
 *
 * Written by processes that are about to die, many at a time, most of them
 * without a PGPROC: an LWLock taken there works until it is contended and then
 * brings the cluster down. So each counter is an atomic, and the log a ring
 * without locks.
 *
 * A reset does not zero what others add to: it moves a baseline that readers
 * subtract. Its writer is whoever calls connpool_reset().
 */
#include "postgres.h"

#include "base/ring.h"
#include "port/atomics.h"
#include "store/refusals.h"

typedef struct RefusalCounter
{
	pg_atomic_uint64 total;		/* since the server started; everybody adds */
	pg_atomic_uint64 last_seen; /* a TimestampTz; the last to write wins */
	pg_atomic_uint64 baseline;	/* of total, at the last reset */
} RefusalCounter;

typedef struct Refusals
{
	RefusalCounter counter[CPM_REFUSALS];
	CpmRing		log;			/* the last; with its entries behind it */
} Refusals;

static Refusals *refusals;

Size
cpm_refusals_size(void)
{
	return offsetof(Refusals, log) + cpm_ring_size(CPM_REFUSAL_LOG_ENTRIES, sizeof(CpmRefused));
}

void
cpm_refusals_attach(void *memory, bool is_new)
{
	refusals = memory;
	if (!is_new)
		return;

	for (int i = 0; i < CPM_REFUSALS; i++)
	{
		pg_atomic_init_u64(&refusals->counter[i].total, 0);
		pg_atomic_init_u64(&refusals->counter[i].last_seen, 0);
		pg_atomic_init_u64(&refusals->counter[i].baseline, 0);
	}
	cpm_ring_init(&refusals->log, CPM_REFUSAL_LOG_ENTRIES, sizeof(CpmRefused));
}

void
cpm_refusals_add(const CpmRefused *refused)
{
	RefusalCounter *counter = &refusals->counter[refused->reason];

	pg_atomic_write_u64(&counter->last_seen, (uint64) refused->at);
	pg_atomic_fetch_add_u64(&counter->total, 1);
	cpm_ring_add(&refusals->log, refused);
}

CpmRefusalCount
cpm_refusals_count(CpmRefusal reason)
{
	CpmRefusalCount count = {0};
	RefusalCounter *counter;
	uint64		baseline;

	if (refusals == NULL)
		return count;
	counter = &refusals->counter[reason];
	/* as in store/errors */
	baseline = pg_atomic_read_u64(&counter->baseline);
	pg_read_barrier();
	count.count = pg_atomic_read_u64(&counter->total) - baseline;
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

void
cpm_refusals_log_scan(CpmRingVisitor visit, void *arg)
{
	CpmRefused	copy;

	if (refusals != NULL)
		cpm_ring_scan(&refusals->log, &copy, visit, arg);
}

void
cpm_refusals_reset(void)
{
	for (int i = 0; i < CPM_REFUSALS; i++)
		pg_atomic_write_u64(&refusals->counter[i].baseline,
							pg_atomic_read_u64(&refusals->counter[i].total));
	cpm_ring_reset(&refusals->log);
}

void
cpm_refusals_save(CpmSink *sink)
{
	CpmRefused	entry;

	cpm_put_mark(sink, CPM_REFUSALS);
	for (int i = 0; i < CPM_REFUSALS; i++)
	{
		CpmRefusalCount count = cpm_refusals_count(i);

		cpm_put_u64(sink, count.count);
		cpm_put_u64(sink, (uint64) count.last_seen);
	}
	cpm_ring_save(&refusals->log, &entry, sink);
}

bool
cpm_refusals_load(CpmSource *source)
{
	CpmRefused	entry;

	if (!cpm_get_mark(source, CPM_REFUSALS))
		return false;
	for (int i = 0; i < CPM_REFUSALS; i++)
	{
		uint64		total = cpm_get_u64(source);
		uint64		last_seen = cpm_get_u64(source);

		if (source->failed || source->rehearsal)
			continue;
		pg_atomic_write_u64(&refusals->counter[i].total, total);
		pg_atomic_write_u64(&refusals->counter[i].last_seen, last_seen);
	}
	return cpm_ring_load(&refusals->log, &entry, source);
}
