/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_log.h
 *		Logs and counts waits for heavyweight locks that lasted longer than blocked_age.
 */
#ifndef CPM_LOCK_LOG_H
#define CPM_LOCK_LOG_H

#include "base/lock_wait.h"
#include "base/ring.h"
#include "base/session.h"
#include "base/stream.h"
#include "storage/lock.h"

typedef enum CpmWaitOutcome
{
	CPM_WAIT_LASTS,				/* still waiting, or ended and the outcome is not known yet */
	CPM_WAIT_GRANTED,
	CPM_WAIT_CANCELLED,
	CPM_WAIT_DEADLOCK,
	CPM_WAIT_ENDED				/* the session ended while it waited */
} CpmWaitOutcome;

/* Return the outcome's name in connpool_lock_log; NULL for CPM_WAIT_LASTS. */
extern const char *cpm_wait_outcome_name(CpmWaitOutcome outcome);

/* One side of a wait, as it was when the wait exceeded blocked_age. */
typedef struct CpmLockParty
{
	int			pid;
	Oid			database;		/* InvalidOid if it is not a client session */
	Oid			role;			/* likewise */
	CpmState	state;
	uint64		queryid;		/* 0: unknown */
	char		application_name[NAMEDATALEN];
} CpmLockParty;

typedef struct CpmLoggedWait
{
	pg_atomic_uint64 progress;	/* updated by the sampler; see CPM_OUTCOME_BITS */

	/*
	 * Written by the process that appends the entry. If the clock is set back, the sampler
	 * corrects started_at.
	 */
	TimestampTz started_at;
	CpmLockParty waiter;
	CpmLockParty root;			/* pid 0: a prepared transaction; CPM_NO_ROOT_BLOCKER: unknown */
	LOCKTAG		lock;			/* its method is 0 if the lock is unknown */
	LOCKMODE	mode;
} CpmLoggedWait;

/* The low bits of progress contain the outcome, the higher bits the microseconds waited so far. */
#define CPM_OUTCOME_BITS 3

static inline CpmWaitOutcome
cpm_logged_outcome(const CpmLoggedWait *wait)
{
	return (CpmWaitOutcome) (wait->progress.value & ((1 << CPM_OUTCOME_BITS) - 1));
}

static inline int64
cpm_logged_waited_us(const CpmLoggedWait *wait)
{
	return (int64) (wait->progress.value >> CPM_OUTCOME_BITS);
}

/*
 * An open wait: a logged wait that has not ended, or whose outcome is not known yet. The table of
 * open waits is indexed by the number of the waiting process's PGPROC.
 */
typedef struct CpmOpenWait
{
	int			pid;			/* 0 if there is none */
	TimestampTz recorded_since; /* with the pid, identifies the wait */
	int			leader_pid;		/* of its session: the leader's if it is a parallel worker */
	int			leader_number;	/* index of its session's PGPROC */
	TimestampTz recorded_state_change;	/* of its session while it waited */
	int64		since_us;		/* recorded_since by the monotonic clock */
	uint64		ticket;			/* of its entry in the log */
	int64		counted_us;		/* the part of the wait that has been counted */
	uint32		round;			/* number of the last round that observed it */
	uint32		failed_before;	/* failed waits that the slot had recorded before this one */
	int64		ended_us;		/* end of the wait, by the monotonic clock; 0: it has not ended */
	int64		missed_us;		/* time of the first round that did not observe it, by the
								 * monotonic clock; set with ended_us */
} CpmOpenWait;

extern Size cpm_lock_log_size(void);
extern void cpm_lock_log_attach(void *memory, bool is_new);

/*
 * Return the outcome of a wait that has ended but is still open in the log, or CPM_WAIT_LASTS if
 * the outcome is not known yet; then the next round calls the function again. *ended_us is the
 * time of the first round that did not observe the wait, by the monotonic clock; the function may
 * set it to an earlier time.
 */
typedef CpmWaitOutcome (*CpmWaitEndFinder) (int proc_number, const CpmOpenWait *open,
											int64 *ended_us);

/*
 * Process a sample, in this order: begin the round; observe each current wait; end the open waits
 * that were not observed; open the waits that have exceeded blocked_age. now_us is the time by the
 * monotonic clock. cpm_lock_log_observe() returns true if the wait is open already. If a reset has
 * hidden the entry of an open wait, it appends the entry again; but if the wait has not exceeded
 * blocked_us, it closes the wait and returns false. The caller of cpm_lock_log_open() sets all
 * fields of the entry except progress. In the wait, it sets recorded_state_change, failed_before,
 * and the fields that identify the wait and its session. The sampler only; takes no lock and
 * allocates no memory.
 */
extern void cpm_lock_log_begin_round(TimestampTz now, int64 now_us);
extern bool cpm_lock_log_observe(const CpmProcWait *wait, int64 blocked_us);
extern void cpm_lock_log_end_waits(CpmWaitEndFinder find_end);
extern void cpm_lock_log_open(int proc_number, const CpmOpenWait *wait, CpmLoggedWait *entry);

typedef struct CpmLockWaitCounts
{
	uint64		waits;
	uint64		waited_us;
} CpmLockWaitCounts;

/*
 * Return the number of waits logged since the last reset, and the time that logged waits have
 * lasted since then, including those that have not ended. Any process; takes no lock.
 */
extern CpmLockWaitCounts cpm_lock_wait_counts(void);

/* Call visit(CpmLoggedWait, arg) for each logged wait, newest first. Any process; no lock. */
extern void cpm_lock_log_scan(CpmRingVisitor visit, void *arg);

/*
 * Reset the counts and hide all entries. At its next round the sampler logs and counts again each
 * wait that has not ended and is longer than blocked_age. Takes no lock.
 */
extern void cpm_lock_log_reset(void);

/*
 * The counts and the log in the statistics file. A wait that had not ended when the file was saved
 * is loaded with the outcome CPM_WAIT_ENDED, because its session ended with the server.
 */
extern const CpmFilePart cpm_lock_wait_counts_part;
extern const CpmFilePart cpm_lock_log_part;

#endif							/* CPM_LOCK_LOG_H */
