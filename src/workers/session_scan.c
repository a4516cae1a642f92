/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_scan.c
 *		The sampler's pass over all sessions: one scan feeds every consumer.
 *
 * Before the pass, it finds root blockers (live/lock_roots) and logs waits for locks
 * (workers/lock_episodes). While the sample counts the sessions, this file records how many
 * sessions of each pool are busy (counters/pool_busy) and what these do (counters/pool_load,
 * workers/session_recorder), which sessions wait for their clients (live/client_waits) and which
 * look like leaks (events/leak_log).
 *
 * It also logs when a leak suspect in a transaction resumes its work, because an alert may have
 * reported the session as a leak. Finally, it finds the sessions that a metric stopped counting
 * because a setting changed. It recognizes them by the transaction, statement or wait that the
 * metric counted: while that lasts, its age only grows, so only a setting can end the counting.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/pool.h"
#include "base/rate_limit.h"
#include "base/set_back.h"
#include "base/session.h"
#include "base/settings.h"
#include "base/wait_class.h"
#include "counters/backend_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_counters.h"
#include "counters/pool_load.h"
#include "counters/pool_table.h"
#include "events/leak_log.h"
#include "live/client_waits.h"
#include "live/lock_roots.h"
#include "rules/leaks.h"
#include "samples/take_sample.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "workers/lock_episodes.h"
#include "workers/session_recorder.h"
#include "workers/session_scan.h"

#define MAX_LINES_PER_SECOND 5
#define ROOT_AGE_US (100 * 1000)	/* minimum age of a lock wait whose root blocker is found */

typedef struct SessionScan
{
	CpmSample  *sample;			/* its taken_at is the time of the scan */
	CpmAges		ages;
	TimestampTz oldest_uncounted;	/* start of the oldest transaction that
									 * oldest_transaction_seconds no longer counts; 0: none */

	/* By index of counters/pool_table */
	uint32	   *busy_by_pool;
	TimestampTz *newest_by_pool;	/* when the newest session of the pool connected */

	CpmBusySession *busy;		/* with room for cpm_backend_slots() */
	int			busy_count;
} SessionScan;

/* Local to the sampler's process */
static CpmRateLimit line_limit;
static TimestampTz *previous_newest;	/* newest_by_pool of the previous round */
static int64 round_us;			/* when the round began, by the monotonic clock */
static int64 previous_steps_us; /* cpm_clock_steps_us() in the previous round */

/* The metrics that count sessions by an age. */
static const CpmMetricId age_metrics[] = {
	CPM_LONG_TRANSACTIONS, CPM_LEAK_SUSPECTS, CPM_BLOCKED_SESSIONS,
	CPM_OLDEST_TRANSACTION_SECONDS, CPM_LONG_QUERIES
};

/*
 * By number of the PGPROC and index of age_metrics: counted_id() of the session when the metric
 * last counted it; 0 if it never did. Local to the sampler's process.
 */
static uint64 (*last_counted)[lengthof(age_metrics)];

/* Log that a session in a transaction, suspected as a leak, has resumed its work. */
static void
log_released_leak(const CpmLeakEnd *leak)
{
	if (!leak->was_released || leak->kind == CPM_LEAK_IDLE || leak->kind == CPM_LEAK_PREPARED ||
		!cpm_rate_limit_allows(&line_limit, MAX_LINES_PER_SECOND, round_us))
		return;
	ereport(LOG,
			(errmsg("connpool_monitor: leak suspect pid %d of %s resumed work after "
					INT64_FORMAT " s", leak->pid, cpm_application_label(leak->application_name),
					leak->held_us / USECS_PER_SEC),
			 errhidestmt(true)));
}

static void
record_busy(SessionScan *scan, const CpmSession *session, int pool)
{
	CpmBusySession *busy = &scan->busy[scan->busy_count++];

	if (pool >= 0)
		scan->busy_by_pool[pool]++;
	busy->pool = pool;
	busy->wait_class = cpm_wait_class(session->state, session->wait_event_info);
}

/*
 * Identify the transaction, statement or wait whose age the metric uses; returns 0 if none. The
 * result does not change if the clock is set back. A time corrected for the setback would change.
 */
static uint64
counted_id(CpmMetricId id, const CpmSession *session)
{
	switch (id)
	{
		case CPM_LEAK_SUSPECTS:
			return cpm_suspect_id(session);
		case CPM_BLOCKED_SESSIONS:
			return (uint64) session->recorded_lock_wait_start;
		case CPM_LONG_QUERIES:
			return cpm_is_active(session) ? (uint64) session->recorded_query_start : 0;
		default:
			return (uint64) session->recorded_xact_start;
	}
}

/* Record the session for each metric that would still count it with the former settings. */
static void
find_uncounted(SessionScan *scan, const CpmSession *session)
{
	uint64	   *last = last_counted[session->proc_number];

	for (size_t i = 0; i < lengthof(age_metrics); i++)
	{
		CpmMetricId id = age_metrics[i];
		uint64		counted = counted_id(id, session);
		bool		counts = id == CPM_OLDEST_TRANSACTION_SECONDS ? !session->exempt :
			cpm_session_counts(id, session, scan->sample->taken_at, &scan->ages);

		if (counts)
			last[i] = counted;
		else if (counted == 0 || counted != last[i])
			continue;
		else if (id != CPM_OLDEST_TRANSACTION_SECONDS)
			scan->sample->uncounted[id]++;
		else if (scan->oldest_uncounted == 0 || session->xact_start < scan->oldest_uncounted)
			scan->oldest_uncounted = session->xact_start;
	}
}

/* Record one session. cpm_sample_take() calls this for each client session. */
static void
observe_session(const CpmSession *session, void *arg)
{
	SessionScan *scan = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);

	/*
	 * cpm_pool_last_opened() misses sessions that joined the pool by changing application_name.
	 * previous_newest includes those that the previous round visited. If the pool has taken its
	 * slot since that round, previous_newest still has a time of the former pool. This does no
	 * harm: all sessions of the new pool became idle after that time, and a session is a suspect
	 * only if it became idle before "opened".
	 */
	TimestampTz opened = pool > CPM_OTHER_POOL ?
		Max(cpm_pool_last_opened(pool), previous_newest[pool]) : 0;
	CpmLeakKind kind;

	if (pool >= 0)
		scan->newest_by_pool[pool] = Max(scan->newest_by_pool[pool], session->opened_at);
	if (cpm_is_busy_state(session->state))
	{
		record_busy(scan, session, pool);
		find_uncounted(scan, session);
	}
	cpm_recorder_add(session, pool, scan->sample->taken_at);
	cpm_client_wait_record(session);
	kind = cpm_leak_kind(session, opened,
						 cpm_slot_has_idle_reason(session->proc_number, session->pid),
						 scan->sample->taken_at, &scan->ages);
	cpm_leaks_observe_session(session, kind);
}

static void
observe_prepared(const CpmPrepared *prepared, void *arg)
{
	SessionScan *scan = arg;
	bool		is_leak = cpm_is_leaked_prepared(prepared, scan->sample->taken_at, &scan->ages);

	if (cpm_leaks_observe_prepared(prepared, is_leak) && !is_leak)
		scan->sample->uncounted[CPM_LEAK_SUSPECTS]++;
}

/*
 * Forget previous_newest if the clock was set back since the previous round. This round corrects
 * the times of sessions, so they are not comparable with those of the previous round.
 */
static void
check_previous_newest(void)
{
	int64		steps_us = cpm_clock_steps_us();

	if (steps_us > previous_steps_us)
		memset(previous_newest, 0, cpm_pool_slots() * sizeof(TimestampTz));
	previous_steps_us = steps_us;
}

void
cpm_scan_and_sample(CpmSample *sample, int64 interval_ms, int64 now_us)
{
	SessionScan scan = {
		.sample = sample,
		.ages = cpm_settings_ages(),
		.busy_by_pool = palloc0(cpm_pool_slots() * sizeof(uint32)),
		.newest_by_pool = palloc0(cpm_pool_slots() * sizeof(TimestampTz)),
		.busy = palloc(cpm_backend_slots() * sizeof(CpmBusySession)),
	};
	CpmSampleObserver observer = {
		.scan = CPM_SCAN_ACTIVITY,
		.session = observe_session,
		.prepared = observe_prepared,
		.arg = &scan,
	};

	round_us = now_us;
	if (previous_newest == NULL)
	{
		previous_newest = MemoryContextAllocZero(TopMemoryContext,
												 cpm_pool_slots() * sizeof(TimestampTz));
		last_counted = MemoryContextAllocZero(TopMemoryContext,
											  cpm_backend_slots() * sizeof(*last_counted));
	}
	check_previous_newest();
	cpm_lock_roots_update(Min(ROOT_AGE_US, scan.ages.blocked_us));
	cpm_lock_episodes_round(GetCurrentTimestamp(), cpm_monotonic_us(), &scan.ages);
	cpm_leaks_round_begin(GetCurrentTimestamp(), log_released_leak);
	cpm_recorder_begin(interval_ms);
	cpm_sample_take(sample, &observer);
	cpm_recorder_end(sample->taken_at);
	cpm_leaks_round_end();
	sample->uncounted[CPM_OLDEST_TRANSACTION_SECONDS] =
		Max((double) cpm_age_us(sample->taken_at, scan.oldest_uncounted) / USECS_PER_SEC -
			sample->value[CPM_OLDEST_TRANSACTION_SECONDS], 0);
	memcpy(previous_newest, scan.newest_by_pool, cpm_pool_slots() * sizeof(TimestampTz));
	for (int i = 0; i < cpm_pool_slots(); i++)
		if (scan.busy_by_pool[i] > 0)
			cpm_pool_raise_busy_peak(i, scan.busy_by_pool[i]);
	cpm_pool_busy_sample(scan.busy_by_pool, (uint32) ((interval_ms + 50) / 100));	/* tenths */
	cpm_pool_load_sample(scan.busy, scan.busy_count, now_us, interval_ms);
}
