/* SPDX-License-Identifier: PostgreSQL */
/*
 * leak_log.c
 *		Counts suspected leaks, which are forgotten sessions and prepared transactions,
 *		and logs how each ended.
 *
 * A suspected leak is a prepared transaction, or one period in which a session is idle, is idle in
 * a transaction or waits for its client. When the session resumes work, the period ends; a later
 * period is a new suspected leak. A period has an identifier that does not change when the system
 * clock is set back, and the monotonic clock measures how long it lasts. The suspected leaks are
 * in a table in shared memory, so that a restarted sampler continues with them; the index of a
 * session is that of its PGPROC. When a leak ends, the sampler counts it and appends it to a ring.
 *
 * The sampler is the only writer, except that a reset records baselines, which readers subtract,
 * and that the postmaster loads the statistics file. Readers take no lock.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "base/clock.h"
#include "base/seqlock.h"
#include "events/leak_log.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"

#define LOG_ENTRIES 1000

typedef struct Occurrence
{
	CpmLeakKind kind;			/* CPM_NO_LEAK if the entry is free */
	uint32		round;			/* number of the last round that observed it */
	int			pid;			/* of the session; 0 for a prepared transaction */
	TransactionId xid;			/* of the prepared transaction */
	TimestampTz connected_at;	/* of the session, because pids are reused */
	uint64		suspect_id;		/* cpm_suspect_id() of the session */
	int64		since_us;		/* start of the suspected leak, by the monotonic clock; its age in
								 * the statistics file */
	Oid			database;
	Oid			role;
	char		application_name[NAMEDATALEN];
} Occurrence;

/* Written by the sampler. */
typedef struct LeakCounters
{
	pg_atomic_uint64 detected;
	pg_atomic_uint64 released;
	pg_atomic_uint64 ended;
	pg_atomic_uint64 last_detected; /* a TimestampTz */
	pg_atomic_uint64 longest_us;
} LeakCounters;

typedef struct LeakLog
{
	/* written by each reset; the lock of the pools excludes concurrent resets */
	CpmSeqlock	reset_lock;		/* guards baseline; each reset changes its counter */
	CpmLeakCounts baseline[CPM_LEAK_KINDS]; /* counts at the last reset, and its time in
											 * last_detected */

	/* written by the sampler */
	uint32		reset_seen;		/* counter of reset_lock when the sampler last applied a reset to
								 * its counters */
	uint32		round;			/* number of its current round */
	LeakCounters counters[CPM_LEAK_KINDS];

	/* constant after startup */
	int			sessions;		/* entries for sessions; those for prepared transactions follow */
	int			entries;		/* all entries */

	Occurrence	occurrence[FLEXIBLE_ARRAY_MEMBER];	/* written by the sampler */
} LeakLog;

static LeakLog *leaks;
static CpmRing *leak_ring;

/* The current round of the sampler; process-local. */
static TimestampTz leak_round_time;
static CpmLeakVisitor report_end;

static Size
table_size(void)
{
	return MAXALIGN(offsetof(LeakLog, occurrence) +
					(MaxBackends + max_prepared_xacts) * sizeof(Occurrence));
}

Size
cpm_leak_log_size(void)
{
	return add_size(table_size(), cpm_ring_size(LOG_ENTRIES, sizeof(CpmLeakEnd)));
}

void
cpm_leak_log_attach(void *memory, bool is_new)
{
	leaks = memory;
	leak_ring = (CpmRing *) ((char *) memory + table_size());
	if (!is_new)
		return;
	memset(leaks, 0, table_size());
	cpm_seqlock_init(&leaks->reset_lock);
	leaks->sessions = MaxBackends;
	leaks->entries = MaxBackends + max_prepared_xacts;
	for (int i = 0; i < CPM_LEAK_KINDS; i++)
	{
		pg_atomic_init_u64(&leaks->counters[i].detected, 0);
		pg_atomic_init_u64(&leaks->counters[i].released, 0);
		pg_atomic_init_u64(&leaks->counters[i].ended, 0);
		pg_atomic_init_u64(&leaks->counters[i].last_detected, 0);
		pg_atomic_init_u64(&leaks->counters[i].longest_us, 0);
	}
	cpm_ring_init(leak_ring, LOG_ENTRIES, sizeof(CpmLeakEnd));
}

/*
 * Describe the end of a leak. was_released is false if its session ended. Sets the padding of
 * *leak to zero, because it is saved.
 */
static void
describe_leak_end(CpmLeakEnd *leak, const Occurrence *occurrence, bool was_released,
				  TimestampTz at)
{
	memset(leak, 0, sizeof(*leak));
	leak->at = at;
	leak->kind = occurrence->kind;
	leak->was_released = was_released;
	leak->pid = occurrence->pid;
	leak->database = occurrence->database;
	leak->role = occurrence->role;
	leak->held_us = Max(cpm_monotonic_of(at) - occurrence->since_us, 0);
	strlcpy(leak->application_name, occurrence->application_name, NAMEDATALEN);
}

/* Count, log and report the end of a leak. */
static void
close_occurrence(Occurrence *occurrence, bool was_released, TimestampTz at)
{
	LeakCounters *counters = &leaks->counters[occurrence->kind];
	CpmLeakEnd	leak;

	describe_leak_end(&leak, occurrence, was_released, at);
	occurrence->kind = CPM_NO_LEAK;
	pg_atomic_fetch_add_u64(was_released ? &counters->released : &counters->ended, 1);
	if (pg_atomic_read_u64(&counters->longest_us) < (uint64) leak.held_us)
		pg_atomic_write_u64(&counters->longest_us, (uint64) leak.held_us);
	cpm_ring_add(leak_ring, &leak);
	if (report_end)
		report_end(&leak);
}

static void
count_detected(CpmLeakKind kind)
{
	pg_atomic_fetch_add_u64(&leaks->counters[kind].detected, 1);
	pg_atomic_write_u64(&leaks->counters[kind].last_detected, (uint64) leak_round_time);
}

void
cpm_leaks_round_begin(TimestampTz now, CpmLeakVisitor visit_end)
{
	uint32		change = cpm_seqlock_read_begin(&leaks->reset_lock);

	leak_round_time = now;
	report_end = visit_end;
	leaks->round++;
	/* if a reset is in progress, leave it to the next round */
	if (change == leaks->reset_seen || (change & 1) != 0)
		return;
	for (int i = 0; i < CPM_LEAK_KINDS; i++)
	{
		pg_atomic_write_u64(&leaks->counters[i].longest_us, 0);
		pg_atomic_write_u64(&leaks->counters[i].last_detected,
							(uint64) leaks->baseline[i].last_detected);
	}
	pg_write_barrier();
	leaks->reset_seen = change;
}

void
cpm_leaks_observe_session(const CpmSession *session, CpmLeakKind kind)
{
	Occurrence *known = &leaks->occurrence[session->proc_number];
	bool		is_same_session = known->pid == session->pid &&
		known->connected_at == session->connected_at;
	bool		is_same_occurrence = known->kind != CPM_NO_LEAK && is_same_session &&
		known->suspect_id == cpm_suspect_id(session);

	/* a known leak ends when the session resumes work or ends, not when leak_age is raised */
	if (is_same_occurrence && (kind == CPM_NO_LEAK || kind == known->kind))
	{
		/* raise since_us, which was too early if it was computed while the clock was ahead */
		known->since_us = Max(known->since_us, cpm_monotonic_of(cpm_suspect_since(session)));
		known->round = leaks->round;
		return;
	}
	if (known->kind != CPM_NO_LEAK)
		close_occurrence(known, is_same_session,
						 is_same_session &&
						 cpm_monotonic_of(session->state_change) > known->since_us ?
						 session->state_change : leak_round_time);
	if (kind == CPM_NO_LEAK)
		return;
	known->pid = session->pid;
	known->connected_at = session->connected_at;
	known->suspect_id = cpm_suspect_id(session);
	known->since_us = cpm_monotonic_of(cpm_suspect_since(session));
	known->database = session->database;
	known->role = session->role;
	strlcpy(known->application_name, session->application_name, NAMEDATALEN);
	known->kind = kind;
	known->round = leaks->round;
	count_detected(kind);
}

/* Return the entry of a prepared transaction, or a free one; NULL if there is neither. */
static Occurrence *
entry_of_prepared(TransactionId xid)
{
	Occurrence *free_entry = NULL;

	for (int i = leaks->sessions; i < leaks->entries; i++)
	{
		Occurrence *entry = &leaks->occurrence[i];

		if (entry->kind != CPM_NO_LEAK && entry->xid == xid)
			return entry;
		if (entry->kind == CPM_NO_LEAK && free_entry == NULL)
			free_entry = entry;
	}
	return free_entry;
}

bool
cpm_leaks_observe_prepared(const CpmPrepared *prepared, bool is_leak)
{
	Occurrence *entry = entry_of_prepared(prepared->xid);

	/* a known leak ends with its transaction, not when leak_age is raised */
	if (entry == NULL || (!is_leak && entry->kind == CPM_NO_LEAK))
		return false;
	if (entry->kind == CPM_NO_LEAK)
	{
		entry->xid = prepared->xid;
		entry->database = prepared->database;
		entry->role = prepared->owner;
		entry->kind = CPM_LEAK_PREPARED;
		count_detected(CPM_LEAK_PREPARED);
	}
	entry->since_us = cpm_monotonic_of(prepared->prepared_at);
	entry->round = leaks->round;
	return true;
}

/*
 * Close the leaks that were not observed in this round: their sessions have ended, or their
 * prepared transactions were committed or rolled back.
 */
void
cpm_leaks_round_end(void)
{
	for (int i = 0; i < leaks->entries; i++)
	{
		Occurrence *known = &leaks->occurrence[i];

		if (known->kind != CPM_NO_LEAK && known->round != leaks->round)
			close_occurrence(known, known->kind == CPM_LEAK_PREPARED, leak_round_time);
	}
}

/*
 * Return the counts since the last reset. "change" is the change counter of reset_lock, which the
 * caller has read. The counts are inconsistent if another reset changes the baseline meanwhile.
 */
static CpmLeakCounts
counts_since_reset(CpmLeakKind kind, uint32 change)
{
	LeakCounters *counters = &leaks->counters[kind];
	CpmLeakCounts baseline = leaks->baseline[kind];
	bool		is_applied = leaks->reset_seen == change;
	CpmLeakCounts counts = {0};

	/* read the counters last, so that no difference is negative */
	pg_read_barrier();
	counts.detected = pg_atomic_read_u64(&counters->detected) - baseline.detected;
	counts.released = pg_atomic_read_u64(&counters->released) - baseline.released;
	counts.ended = pg_atomic_read_u64(&counters->ended) - baseline.ended;
	if (is_applied)
		counts.longest_us = (int64) pg_atomic_read_u64(&counters->longest_us);
	if (counts.detected > 0)
		counts.last_detected = is_applied ?
			(TimestampTz) pg_atomic_read_u64(&counters->last_detected) : baseline.last_detected;
	return counts;
}

CpmLeakCounts
cpm_leak_counts(CpmLeakKind kind)
{
	CpmLeakCounts counts;
	uint32		change;
	int			tries = 0;

	/* a reset changes the baseline within nanoseconds, so this needs no pause */
	do
	{
		change = cpm_seqlock_read_begin(&leaks->reset_lock);
		counts = counts_since_reset(kind, change);
	} while (!cpm_seqlock_read_ok(&leaks->reset_lock, change) && ++tries < CPM_SEQLOCK_SPINS);
	return counts;
}

int
cpm_open_leaks(CpmLeakKind kind)
{
	int			count = 0;

	for (int i = 0; i < leaks->entries; i++)
		count += leaks->occurrence[i].kind == kind;
	return count;
}

void
cpm_leak_log_scan(CpmRingVisitor visit, void *arg)
{
	CpmLeakEnd	copy;

	cpm_ring_scan(leak_ring, &copy, visit, arg);
}

/*
 * Set the baseline of "detected" so that the leaks that are suspected now count as detected after
 * the reset. So the number of detected leaks remains the sum of those released, ended and still
 * suspected.
 */
void
cpm_leak_log_reset(TimestampTz now)
{
	CpmLeakCounts baseline[CPM_LEAK_KINDS] = {0};

	for (int i = 0; i < CPM_LEAK_KINDS; i++)
	{
		baseline[i].released = pg_atomic_read_u64(&leaks->counters[i].released);
		baseline[i].ended = pg_atomic_read_u64(&leaks->counters[i].ended);
		baseline[i].detected = pg_atomic_read_u64(&leaks->counters[i].detected) - cpm_open_leaks(i);
		baseline[i].last_detected = now;
	}
	cpm_seqlock_repair(&leaks->reset_lock);
	cpm_seqlock_write_begin(&leaks->reset_lock);
	memcpy(leaks->baseline, baseline, sizeof(baseline));
	cpm_seqlock_write_end(&leaks->reset_lock);
	cpm_ring_reset(leak_ring);
}

/* Describe the end, now, of the leak at that index; returns false if there is none. */
static bool
end_suspected_session(int index, TimestampTz now, CpmLeakEnd *leak)
{
	Occurrence	copy = leaks->occurrence[index];

	if (copy.kind == CPM_NO_LEAK)
		return false;
	describe_leak_end(leak, &copy, false, now);
	return true;
}

static void
save_leak_counts(CpmSink *sink)
{
	CpmLeakCounts counts[CPM_LEAK_KINDS] = {0};
	CpmLeakEnd	leak;

	for (int i = CPM_NO_LEAK + 1; i < CPM_LEAK_KINDS; i++)
		counts[i] = cpm_leak_counts(i);
	for (int i = 0; i < leaks->sessions; i++)
		if (end_suspected_session(i, sink->now, &leak))
		{
			counts[leak.kind].ended++;
			counts[leak.kind].longest_us = Max(counts[leak.kind].longest_us, leak.held_us);
		}
	cpm_put(sink, counts);
}

static void
load_leak_counts(const void *record)
{
	const CpmLeakCounts *counts = record;

	for (int i = 0; i < CPM_LEAK_KINDS; i++)
	{
		pg_atomic_write_u64(&leaks->counters[i].detected, counts[i].detected);
		pg_atomic_write_u64(&leaks->counters[i].released, counts[i].released);
		pg_atomic_write_u64(&leaks->counters[i].ended, counts[i].ended);
		pg_atomic_write_u64(&leaks->counters[i].last_detected,
							(uint64) cpm_loaded_time(counts[i].last_detected));
		pg_atomic_write_u64(&leaks->counters[i].longest_us, (uint64) counts[i].longest_us);
	}
}

const CpmFilePart cpm_leak_counts_part = {
	"leak counts", sizeof(CpmLeakCounts) * CPM_LEAK_KINDS,
	.save = save_leak_counts, .load = load_leak_counts
};

static void
save_prepared_leaks(CpmSink *sink)
{
	for (int i = leaks->sessions; i < leaks->entries; i++)
	{
		Occurrence	copy = leaks->occurrence[i];

		copy.since_us = sink->now_us - copy.since_us;
		if (copy.kind != CPM_NO_LEAK)
			cpm_put(sink, &copy);
	}
}

static void
load_prepared_leak(const void *record)
{
	const Occurrence *saved = record;
	Occurrence *entry = entry_of_prepared(saved->xid);

	if (entry == NULL)
		return;					/* max_prepared_transactions was lowered */
	*entry = *saved;
	entry->since_us = cpm_loaded_us(saved->since_us);
	entry->kind = CPM_LEAK_PREPARED;
	entry->round = 0;
}

const CpmFilePart cpm_prepared_leaks_part = {
	"prepared leaks", sizeof(Occurrence), .save = save_prepared_leaks, .load = load_prepared_leak,
	.text = {CPM_TEXT(Occurrence, application_name)}
};

/*
 * Save the ring first: a leak that the sampler closes meanwhile may then be missing, until the
 * next save, but is not saved twice.
 */
static void
save_leak_ends(CpmSink *sink)
{
	CpmLeakEnd	leak;

	cpm_ring_save(leak_ring, sink);
	for (int i = 0; i < leaks->sessions; i++)
		if (end_suspected_session(i, sink->now, &leak))
			cpm_put(sink, &leak);
}

const CpmFilePart cpm_leak_log_part = {
	"leak log", sizeof(CpmLeakEnd), .save = save_leak_ends, .ring = &leak_ring,
	.time = {CPM_TIME(CpmLeakEnd, at)},
	.text = {CPM_TEXT(CpmLeakEnd, application_name)},
	.below = {CPM_BELOW(CpmLeakEnd, kind, CPM_LEAK_KINDS)}
};
