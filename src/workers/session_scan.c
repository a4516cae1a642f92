/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_scan.c
 *		What the sampler sees of single sessions while it takes a sample.
 *
 * One pass over the sessions serves all: the sample counts them, and here is
 * noted which pools are busy (counters/pool_busy), which sessions wait for their
 * clients (live/client_waits) and what looks forgotten (events/leak_log). What was
 * taken for forgotten and comes back to work is worth a line in the server log: the
 * warning about it was about something that lives.
 */
#include "postgres.h"

#include "base/pool.h"
#include "base/rate_limit.h"
#include "base/session.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_counters.h"
#include "counters/pool_table.h"
#include "events/leak_log.h"
#include "live/client_waits.h"
#include "rules/leaks.h"
#include "samples/take_sample.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "workers/session_scan.h"

#define MOST_LINES_A_SECOND 5

typedef struct Watch
{
	const CpmSample *sample;	/* its taken_at is now */
	CpmAges		ages;
	uint32	   *busy_by_pool;
	TimestampTz *newest_by_pool;	/* when the newest session in each pool was opened */
} Watch;

static CpmRateLimit line_limit; /* of the process */
static TimestampTz *newest_before;	/* newest_by_pool of the round before */
static int64 round_us;

/* A session in a transaction that its client forgot, and remembered. */
static void
tell_of_release(const CpmLeakEnd *leak)
{
	if (!leak->came_back || leak->kind == CPM_LEAK_IDLE || leak->kind == CPM_LEAK_PREPARED ||
		!cpm_rate_limit_allows(&line_limit, MOST_LINES_A_SECOND, round_us))
		return;
	ereport(LOG,
			(errmsg("connpool_monitor: leak suspect pid %d of %s came back to work after " INT64_FORMAT " s",
					leak->pid, cpm_application_label(leak->application_name),
					leak->held_us / USECS_PER_SEC),
			 errhidestmt(true)));
}

static void
watch_session(const CpmSession *session, void *arg)
{
	Watch	   *watch = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);
	TimestampTz opened = pool > CPM_OTHER_POOL ?
		Max(cpm_pool_last_opened(pool), newest_before[pool]) : 0;

	if (pool >= 0)
		watch->newest_by_pool[pool] = Max(watch->newest_by_pool[pool], session->connected_at);
	if (pool >= 0 && (cpm_is_active(session) || cpm_is_idle_in_transaction(session)))
		watch->busy_by_pool[pool]++;
	cpm_client_wait_note(session, watch->sample->taken_at);
	cpm_leaks_observe_session(session, cpm_leak_kind(session, opened,
													 cpm_slot_has_duty(session->proc_number, session->pid),
													 watch->sample->taken_at, &watch->ages));
}

static void
watch_prepared(const CpmPrepared *prepared, void *arg)
{
	const Watch *watch = arg;

	cpm_leaks_observe_prepared(prepared, cpm_is_leaked_prepared(prepared, watch->sample->taken_at,
																&watch->ages));
}

void
cpm_scan_and_sample(CpmSample *sample, int64 elapsed_ms, int64 now_us)
{
	Watch		watch = {
		.sample = sample,
		.ages = cpm_settings_ages(),
		.busy_by_pool = palloc0(cpm_pool_slots() * sizeof(uint32)),
		.newest_by_pool = palloc0(cpm_pool_slots() * sizeof(TimestampTz)),
	};
	CpmSampleObserver watcher = {watch_session, watch_prepared, &watch};

	round_us = now_us;
	if (newest_before == NULL)
		newest_before = MemoryContextAllocZero(TopMemoryContext, cpm_pool_slots() * sizeof(TimestampTz));
	cpm_leaks_round_begin(GetCurrentTimestamp(), tell_of_release);
	cpm_sample_take(sample, &watcher);
	cpm_leaks_round_end();
	memcpy(newest_before, watch.newest_by_pool, cpm_pool_slots() * sizeof(TimestampTz));
	for (int i = 0; i < cpm_pool_slots(); i++)
		if (watch.busy_by_pool[i] > 0)
			cpm_pool_note_busy(i, watch.busy_by_pool[i]);
	cpm_pool_busy_sample(watch.busy_by_pool, (uint32) ((elapsed_ms + 50) / 100));
}
