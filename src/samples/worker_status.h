/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker_status.h
 *		The status that each background worker publishes: whether it runs, when it
 *		last completed a round, and what prevents it from doing its work.
 */
#ifndef CPM_WORKER_STATUS_H
#define CPM_WORKER_STATUS_H

#include "base/worker.h"
#include "datatype/timestamp.h"

#define CPM_WORKER_PROBLEM_SIZE 512

typedef struct CpmWorkerStatus
{
	int			pid;			/* 0 while the worker does not run */
	TimestampTz last_round;		/* the last sample or save, possibly before the server's start; 0
								 * if there was none */
	int64		active_us;		/* the latest of the server's start, the worker's start and its
								 * last round, by the monotonic clock */
	double		cost_ms;		/* of the last round */
	uint64		rounds;			/* completed since the server started; for the saver, loading the
								 * file at startup counts as one */
	uint64		missed;			/* rounds skipped because the next one was already due */
	char		problem[CPM_WORKER_PROBLEM_SIZE];	/* of the last attempt; empty if none */
} CpmWorkerStatus;

extern Size cpm_worker_status_size(void);
extern void cpm_worker_status_attach(void *memory, bool is_new);

/*
 * Publish a change of the worker's status. Only the worker itself calls these functions, except
 * that the postmaster calls them for the saver at startup and shutdown, while no saver runs.
 * cpm_worker_started() clears the problem, but not that of the saver, which describes the last
 * save. None of them can fail.
 */
extern void cpm_worker_started(CpmWorker worker);
extern void cpm_worker_ended(CpmWorker worker);
extern void cpm_worker_completed_round(CpmWorker worker, TimestampTz at, double cost_ms,
									   uint64 missed);
extern void cpm_worker_report_problem(CpmWorker worker, const char *problem);

/* Return a worker's status; all zero if the library is not preloaded. Any process; no lock. */
extern CpmWorkerStatus cpm_worker_status(CpmWorker worker);

/* Return when shared memory was created; 0 if the library is not preloaded. */
extern TimestampTz cpm_server_started_at(void);

/*
 * Return true if more than ten intervals, and more than ten seconds, have passed since the latest
 * of the worker's last round, its start and the server's start. interval_ms is the interval
 * between its rounds. Uses the monotonic clock, so that setting the system clock has no effect.
 */
extern bool cpm_worker_is_stale(const CpmWorkerStatus *status, int interval_ms);

/*
 * Return how long ago the last round completed, in milliseconds; NaN before the first. "now" is
 * the current time. If the system clock was set back, the monotonic clock gives the age.
 */
extern double cpm_last_round_age_ms(const CpmWorkerStatus *status, TimestampTz now);

/*
 * Return when the last round of the sampler completed; 0 before the first. If the system clock was
 * set back since, computes that time from the monotonic clock and the current time, so that the
 * result is never in the future.
 */
extern TimestampTz cpm_last_round_at(const CpmWorkerStatus *sampler);

/*
 * Request that the worker do a round at once. Any process. connpool_reset() requests a save, so
 * that after a crash the old counters are not loaded again. Only the saver responds to a request:
 * it calls cpm_worker_was_requested(), which also clears the request.
 */
extern void cpm_worker_request(CpmWorker worker);
extern bool cpm_worker_was_requested(CpmWorker worker);

/* Set the latch of a worker that runs. Any process; cannot fail. */
extern void cpm_worker_wake(CpmWorker worker);

#endif							/* CPM_WORKER_STATUS_H */
