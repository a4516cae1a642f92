/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_log.c
 *		Logs and counts waits for heavyweight locks that lasted longer than blocked_age.
 *
 * The sampler appends a wait to a ring in shared memory when the wait exceeds blocked_age, and
 * updates the entry at each sample while the wait lasts. The wait is open until its outcome is
 * known: a table, also in shared memory, refers to its entry, so that a restarted sampler
 * continues with the open waits. The table is indexed by PGPROC, because a process waits for only
 * one lock at a time. A reset hides all entries. If a wait lasts beyond the reset, the sampler
 * appends it once more as soon as it exceeds the current blocked_age: usually at the next sample,
 * but later if blocked_age was raised.
 *
 * The sampler is the only writer, except that a reset records baselines, which readers subtract,
 * and that the postmaster loads the statistics file. The fields of an entry that change are in one
 * word, so that readers get a consistent copy.
 */
#include "postgres.h"

#include "events/lock_log.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"

#define LOG_ENTRIES 1000

/*
 * How long the outcome of a wait may stay unknown. The outcome is CPM_WAIT_CANCELLED if a session
 * takes longer to record its failed wait, for example because a debugger has stopped it.
 */
#define MAX_UNKNOWN_US (10 * USECS_PER_SEC)

typedef struct LockLog
{
	/* written by each reset: the values of waits and waited_us at that time */
	pg_atomic_uint64 waits_baseline;
	pg_atomic_uint64 waited_us_baseline;

	/* written by the sampler */
	pg_atomic_uint64 waits;
	pg_atomic_uint64 waited_us;
	uint32		round;			/* number of its current round */
	int			open_count;		/* open waits in the table */

	int			entries;		/* of the table; constant after startup */
	CpmOpenWait open[FLEXIBLE_ARRAY_MEMBER];	/* written by the sampler */
} LockLog;

static LockLog *lock_log;
static CpmRing *lock_ring;

/* When the current round began, by both clocks; local to the sampler */
static TimestampTz lock_round_time;
static int64 lock_round_us;

const char *
cpm_wait_outcome_name(CpmWaitOutcome outcome)
{
	switch (outcome)
	{
		case CPM_WAIT_GRANTED:
			return "granted";
		case CPM_WAIT_CANCELLED:
			return "cancelled";
		case CPM_WAIT_DEADLOCK:
			return "deadlock";
		case CPM_WAIT_ENDED:
			return "ended";
		case CPM_WAIT_LASTS:
			break;
	}
	return NULL;
}

static Size
open_waits_size(void)
{
	return MAXALIGN(offsetof(LockLog, open) + MaxBackends * sizeof(CpmOpenWait));
}

Size
cpm_lock_log_size(void)
{
	return add_size(open_waits_size(), cpm_ring_size(LOG_ENTRIES, sizeof(CpmLoggedWait)));
}

void
cpm_lock_log_attach(void *memory, bool is_new)
{
	lock_log = memory;
	lock_ring = (CpmRing *) ((char *) memory + open_waits_size());
	if (!is_new)
		return;
	memset(lock_log, 0, open_waits_size());
	pg_atomic_init_u64(&lock_log->waits, 0);
	pg_atomic_init_u64(&lock_log->waited_us, 0);
	pg_atomic_init_u64(&lock_log->waits_baseline, 0);
	pg_atomic_init_u64(&lock_log->waited_us_baseline, 0);
	lock_log->entries = MaxBackends;
	cpm_ring_init(lock_ring, LOG_ENTRIES, sizeof(CpmLoggedWait));
}

/*
 * Count the time that the wait has lasted until at_us, and return the new progress of its log
 * entry. That time never decreases, even if the wait ended before the previous round.
 */
static uint64
count_waited_time(CpmOpenWait *open, int64 at_us, CpmWaitOutcome outcome)
{
	int64		waited_us = Max(at_us - open->since_us, open->counted_us);

	pg_atomic_fetch_add_u64(&lock_log->waited_us, (uint64) (waited_us - open->counted_us));
	open->counted_us = waited_us;
	return (uint64) waited_us << CPM_OUTCOME_BITS | outcome;
}

/* Append an entry, count it, and let the open wait refer to it. */
static void
append_entry(CpmOpenWait *open, CpmLoggedWait *entry, uint64 progress)
{
	pg_atomic_init_u64(&entry->progress, progress);
	open->ticket = cpm_ring_add(lock_ring, entry);
	pg_atomic_fetch_add_u64(&lock_log->waits, 1);
}

/* Update the entry of an open wait, unless it has been hidden or overwritten. */
static void
update_entry(CpmOpenWait *open, int64 at_us, CpmWaitOutcome outcome)
{
	CpmLoggedWait *entry = cpm_ring_entry(lock_ring, open->ticket);
	uint64		progress = count_waited_time(open, at_us, outcome);

	if (entry != NULL)
		pg_atomic_write_u64(&entry->progress, progress);
}

/* Return true if a reset has hidden the entry of an open wait, and copy the entry. */
static bool
copy_hidden_entry(const CpmOpenWait *open, CpmLoggedWait *entry)
{
	return open->ticket != CPM_NO_TICKET && cpm_ring_entry(lock_ring, open->ticket) == NULL &&
		cpm_ring_copy(lock_ring, open->ticket, entry);
}

static void
remove_wait(CpmOpenWait *open)
{
	open->pid = 0;
	lock_log->open_count--;
}

/*
 * Complete the entry of a wait that has ended, and remove the wait from the table. If a reset has
 * hidden the entry, do not append the wait again, because it may have ended before the reset.
 */
static void
close_wait(CpmOpenWait *open, CpmWaitOutcome outcome)
{
	update_entry(open, open->ended_us, outcome);
	remove_wait(open);
}

void
cpm_lock_log_begin_round(TimestampTz now, int64 now_us)
{
	lock_round_time = now;
	lock_round_us = now_us;
	lock_log->round++;
}

bool
cpm_lock_log_observe(const CpmProcWait *wait, int64 blocked_us)
{
	CpmOpenWait *open;
	CpmLoggedWait hidden;

	/* the table has only waits of clients, and no room for the PGPROCs of auxiliary processes */
	if (!wait->is_client)
		return false;
	open = &lock_log->open[wait->proc_number];
	if (open->pid != wait->pid || open->recorded_since != wait->recorded_since)
		return false;
	open->round = lock_log->round;
	open->ended_us = 0;
	if (!copy_hidden_entry(open, &hidden))
		update_entry(open, lock_round_us, CPM_WAIT_LASTS);
	else if (lock_round_us - open->since_us > blocked_us)
		append_entry(open, &hidden, count_waited_time(open, lock_round_us, CPM_WAIT_LASTS));
	else
	{
		remove_wait(open);
		return false;
	}
	return true;
}

void
cpm_lock_log_end_waits(CpmWaitEndFinder find_end)
{
	if (lock_log->open_count == 0)
		return;
	for (int i = 0; i < lock_log->entries; i++)
	{
		CpmOpenWait *open = &lock_log->open[i];
		CpmWaitOutcome outcome;

		if (open->pid == 0 || open->round == lock_log->round)
			continue;
		if (open->ended_us == 0)
			open->ended_us = open->missed_us = lock_round_us;
		outcome = find_end(i, open, &open->ended_us);
		if (outcome != CPM_WAIT_LASTS)
			close_wait(open, outcome);
		else if (lock_round_us - open->missed_us > MAX_UNKNOWN_US)
			close_wait(open, CPM_WAIT_CANCELLED);
	}
}

void
cpm_lock_log_open(int proc_number, const CpmOpenWait *wait, CpmLoggedWait *entry)
{
	CpmOpenWait *open = &lock_log->open[proc_number];

	/* a session records a failed wait before it waits again, so the previous one was granted */
	if (open->pid != 0)
		close_wait(open, CPM_WAIT_GRANTED);
	*open = *wait;
	open->since_us = lock_round_us - (lock_round_time - entry->started_at);
	open->ended_us = 0;
	open->round = lock_log->round;
	open->counted_us = 0;
	append_entry(open, entry, count_waited_time(open, lock_round_us, CPM_WAIT_LASTS));
	lock_log->open_count++;
}

CpmLockWaitCounts
cpm_lock_wait_counts(void)
{
	CpmLockWaitCounts counts;
	uint64		waits_baseline = pg_atomic_read_u64(&lock_log->waits_baseline);
	uint64		waited_us_baseline = pg_atomic_read_u64(&lock_log->waited_us_baseline);

	/* read the baselines first, so that a reset meanwhile cannot make a difference negative */
	pg_read_barrier();
	counts.waits = pg_atomic_read_u64(&lock_log->waits) - waits_baseline;
	counts.waited_us = pg_atomic_read_u64(&lock_log->waited_us) - waited_us_baseline;
	return counts;
}

void
cpm_lock_log_scan(CpmRingVisitor visit, void *arg)
{
	CpmLoggedWait copy;

	cpm_ring_scan(lock_ring, &copy, visit, arg);
}

void
cpm_lock_log_reset(void)
{
	pg_atomic_write_u64(&lock_log->waits_baseline, pg_atomic_read_u64(&lock_log->waits));
	pg_atomic_write_u64(&lock_log->waited_us_baseline, pg_atomic_read_u64(&lock_log->waited_us));
	cpm_ring_reset(lock_ring);
}

static void
save_counts(CpmSink *sink)
{
	CpmLockWaitCounts counts = cpm_lock_wait_counts();

	cpm_put(sink, &counts);
}

static void
load_counts(const void *record)
{
	const CpmLockWaitCounts *counts = record;

	pg_atomic_write_u64(&lock_log->waits, counts->waits);
	pg_atomic_write_u64(&lock_log->waited_us, counts->waited_us);
}

const CpmFilePart cpm_lock_wait_counts_part = {
	"lock wait counts", sizeof(CpmLockWaitCounts), .save = save_counts, .load = load_counts
};

static void
load_wait(const void *record)
{
	CpmLoggedWait wait = *(const CpmLoggedWait *) record;

	if (cpm_logged_outcome(&wait) == CPM_WAIT_LASTS)
		wait.progress.value |= CPM_WAIT_ENDED;
	cpm_ring_add(lock_ring, &wait);
}

const CpmFilePart cpm_lock_log_part = {
	"lock log", sizeof(CpmLoggedWait), .ring = &lock_ring, .load = load_wait,
	.time = {CPM_TIME(CpmLoggedWait, started_at)},
	.text = {CPM_TEXT(CpmLoggedWait, waiter.application_name),
	CPM_TEXT(CpmLoggedWait, root.application_name)},
	.below = {CPM_BELOW(CpmLoggedWait, waiter.state, CPM_STATES),
		CPM_BELOW(CpmLoggedWait, root.state, CPM_STATES),
	CPM_BELOW(CpmLoggedWait, mode, AccessExclusiveLock + 1)}
};
