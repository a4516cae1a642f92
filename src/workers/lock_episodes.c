/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_episodes.c
 *		Observes waits for locks at each sample: which exceed blocked_age, and how each ended.
 *
 * A wait is identified by its process and its start. PostgreSQL does not record how a wait ended,
 * so each backend records its last failed waits in its slot (counters/backend_counters) when it
 * reports the error. If a sample no longer finds a wait, and it is not among the failed ones, the
 * lock was granted, even if the session has ended since. If a session's PGPROC shows that the wait
 * failed, but the session has not reported its error yet, a later sample finds the outcome.
 *
 * A wait is considered over when the session next changes its state, or at the first sample that
 * does not find it, whichever is earlier. So the logged time may be one sample_interval too long.
 * The monotonic clock measures it, because the system clock may be set during the wait.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/lock_wait.h"
#include "counters/backend_counters.h"
#include "events/lock_log.h"
#include "live/backends.h"
#include "live/lock_roots.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/elog.h"
#include "workers/lock_episodes.h"

/*
 * A CpmWaitEndFinder. Returns how the wait ended, and reduces *ended_us to the session's next
 * change of state, if that was earlier. Returns CPM_WAIT_LASTS if the PGPROC shows a failed wait,
 * which may be this one, and the session has recorded no failure since this wait began; a later
 * call finds the outcome.
 */
static CpmWaitOutcome
find_end(int proc_number, const CpmOpenWait *open, int64 *ended_us)
{
	CpmFailedWait failed;
	CpmSession	session;
	bool		has_failed = cpm_backends_lock_wait_failed(proc_number, open->pid);
	uint32		failed_waits;

	/*
	 * Read in the opposite order to the session's writes. The session records a failed wait in
	 * its slot and then increments failed_waits. Only later does it exit or wait again, after
	 * which its PGPROC does not show the failure any more.
	 */
	pg_read_barrier();
	failed_waits = cpm_slot_failed_waits(proc_number);
	pg_read_barrier();
	if (cpm_backends_read(open->leader_number, &session) && session.pid == open->leader_pid &&
		session.recorded_state_change != open->recorded_state_change)
		*ended_us = Min(*ended_us, cpm_monotonic_of(session.state_change));
	if (!cpm_slot_failed_wait(proc_number, open->recorded_since, &failed))
		return has_failed && failed_waits == open->failed_before ?
			CPM_WAIT_LASTS : CPM_WAIT_GRANTED;
	if (failed.was_fatal)
		return CPM_WAIT_ENDED;
	return failed.sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ?
		CPM_WAIT_DEADLOCK : CPM_WAIT_CANCELLED;
}

static void
describe_session(const CpmSession *session, CpmLockParty *party)
{
	party->database = session->database;
	party->role = session->role;
	party->state = session->state;
	party->queryid = session->queryid;
	strlcpy(party->application_name, session->application_name, NAMEDATALEN);
}

/* Describe the root blocker in *last. Does nothing if *last describes that process already. */
static void
describe_root(const CpmLockRoot *root, CpmLockParty *last)
{
	CpmSession	session;
	PGPROC	   *proc;

	if (root->pid > 0 && root->pid == last->pid)
		return;
	memset(last, 0, sizeof(*last));
	last->pid = root->pid;
	last->database = root->prepared_database;
	last->role = root->prepared_owner;
	if (root->pid <= 0)
		return;
	proc = BackendPidGetProc(root->pid);
	/* a background process, for example an autovacuum worker, has no names */
	if (proc != NULL && cpm_backends_read(cpm_proc_number(proc), &session) &&
		session.pid == root->pid)
		describe_session(&session, last);
}

/* Log a wait if it exceeds blocked_age. *last_root caches the result of describe_root(). */
static void
log_long_wait(int index, TimestampTz now, const CpmAges *ages, CpmLockParty *last_root)
{
	const CpmProcWait *wait = cpm_lock_roots_wait(index);
	CpmOpenWait open = {
		.pid = wait->pid,
		.recorded_since = wait->recorded_since,
		.leader_pid = wait->leader_pid,
		.leader_number = wait->leader_number,
	};
	CpmLoggedWait entry;
	CpmLockRoot root;
	CpmSession	session;

	if (!wait->is_client || cpm_age_us(now, wait->since) <= ages->blocked_us)
		return;
	open.failed_before = cpm_slot_failed_waits(wait->proc_number);
	if (!cpm_backends_read(wait->leader_number, &session) || session.pid != wait->leader_pid ||
		session.recorded_lock_wait_start != wait->recorded_since ||
		!cpm_is_blocked(&session, now, ages))
		return;
	open.recorded_state_change = session.recorded_state_change;
	(void) cpm_lock_roots_describe(index, &root);
	memset(&entry, 0, sizeof(entry));
	entry.started_at = wait->since;
	entry.lock = root.lock;
	entry.mode = wait->mode;
	entry.waiter.pid = wait->leader_pid;
	describe_session(&session, &entry.waiter);
	describe_root(&root, last_root);
	entry.root = *last_root;
	cpm_lock_log_open(wait->proc_number, &open, &entry);
}

void
cpm_lock_episodes_round(TimestampTz now, int64 now_us, const CpmAges *ages)
{
	int			waits = cpm_lock_roots_waits();
	bool	   *is_open = palloc0((waits + 1) * sizeof(bool));
	CpmLockParty last_root = {.pid = CPM_NO_ROOT_BLOCKER};

	cpm_lock_log_begin_round(now, now_us);
	for (int i = 0; i < waits; i++)
		is_open[i] = cpm_lock_log_observe(cpm_lock_roots_wait(i), ages->blocked_us);
	cpm_lock_log_end_waits(find_end);
	for (int i = 0; i < waits; i++)
		if (!is_open[i])
			log_long_wait(i, now, ages, &last_root);
	pfree(is_open);
}
