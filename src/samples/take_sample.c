/* SPDX-License-Identifier: PostgreSQL */
/*
 * take_sample.c
 *		Takes a sample of all metrics.
 *
 * SQL functions and the sampler call the same cpm_sample_take(), so that views, alerts, history
 * and health cannot disagree. It counts sessions in one pass over the backends, then adds the
 * metrics that the counters, the PgBouncer consoles and the sample ring provide.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/growth.h"
#include "base/query_counts.h"
#include "base/server_settings.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/wait_class.h"
#include "counters/backend_counters.h"
#include "counters/minute_counters.h"
#include "counters/session_counters.h"
#include "counters/slot_sums.h"
#include "events/rejections.h"
#include "live/backends.h"
#include "live/prepared_xacts.h"
#include "miscadmin.h"
#include "samples/pooler_state.h"
#include "samples/sample_ring.h"
#include "samples/take_sample.h"
#include "utils/timestamp.h"

typedef struct Counting
{
	CpmSample  *sample;
	CpmAges		ages;
	TimestampTz oldest_transaction; /* start of the oldest so far; 0 if none */
	const CpmSampleObserver *observer;	/* may be NULL */
	CpmPoolersFreshness freshness;	/* of the PgBouncer consoles */
	int			pooled;			/* sessions that are server connections of a pooler */
} Counting;

static void
update_oldest(Counting *counting, TimestampTz start)
{
	if (start != 0 && (counting->oldest_transaction == 0 || start < counting->oldest_transaction))
		counting->oldest_transaction = start;
}

/*
 * Count a session as pooled or direct, or as neither while that is unknown. direct_connections
 * omits sessions with track_activities off, as do the other metrics that count open sessions,
 * except total_connections.
 */
static void
count_pooling(Counting *counting, const CpmSession *session)
{
	int			pooler;
	CpmPooling	pooling = cpm_pooling_of(session, &counting->freshness, &pooler);

	counting->pooled += pooling == CPM_POOLING_POOLED;
	counting->sample->value[CPM_DIRECT_CONNECTIONS] += pooling == CPM_POOLING_DIRECT &&
		session->state != CPM_STATE_DISABLED;
}

static void
count_session(const CpmSession *session, void *arg)
{
	Counting   *counting = arg;
	CpmSample  *sample = counting->sample;

	for (int i = 0; i < CPM_METRICS; i++)
		sample->value[i] += cpm_session_counts(i, session, sample->taken_at, &counting->ages);
	if (cpm_is_busy_state(session->state))
		sample->busy[cpm_wait_class(session->state, session->wait_event_info)]++;
	if (counting->freshness.all_fresh)
		count_pooling(counting, session);
	if (counting->observer && counting->observer->session)
		counting->observer->session(session, counting->observer->arg);
	if (!session->exempt)
		update_oldest(counting, session->xact_start);
}

static void
count_prepared(Counting *counting)
{
	CpmPrepared *list;
	int			count = cpm_prepared_xacts_list(&list);

	for (int i = 0; i < count; i++)
	{
		counting->sample->value[CPM_LEAK_SUSPECTS] +=
			cpm_is_leaked_prepared(&list[i], counting->sample->taken_at, &counting->ages);
		update_oldest(counting, list[i].prepared_at);
		if (counting->observer && counting->observer->prepared)
			counting->observer->prepared(&list[i], counting->observer->arg);
	}
	if (list)
		pfree(list);
}

static double
forecast_exhaustion(const CpmSample *sample)
{
	CpmGrowth	growth;

	cpm_growth_begin(&growth, sample->taken_at);
	cpm_sample_ring_add_growth(&growth, CPM_TOTAL_CONNECTIONS);
	return cpm_growth_exhaustion_seconds(cpm_growth_per_second(&growth),
										 sample->value[CPM_TOTAL_CONNECTIONS],
										 sample->usable_slots);
}

CpmCounters
cpm_sample_counters_now(void)
{
	CpmCounters counters = {
		.at_us = cpm_monotonic_us(),
		.refused_for_slots = cpm_slot_rejections(),
		.sessions_opened = cpm_sessions_opened(),
		.queries = cpm_slots_counts(),
	};

	return counters;
}

/* With fewer statements in a minute, a percentage or mean would be too noisy: it is set to 0. */
#define MIN_QUERIES 20

static void
count_queries(CpmSample *sample, CpmQueryCounts counts, const CpmQueryCounts *then)
{
	double		queries;

	cpm_query_counts_subtract(&counts, then);
	queries = (double) counts.of[CPM_QUERIES];
	sample->value[CPM_SLOW_STATEMENTS] = (double) counts.of[CPM_SLOW_QUERIES];
	sample->value[CPM_FAILED_QUERY_PERCENT] = queries < MIN_QUERIES ? 0 :
		100.0 * (double) counts.of[CPM_FAILED_QUERIES] / queries;
	sample->value[CPM_AVERAGE_QUERY_TIME_MS] = queries < MIN_QUERIES ? 0 :
		(double) counts.of[CPM_QUERY_TIME_US] / queries / 1000.0;
}

/* Set the metrics of the last minute from the increase of the counters since a minute ago. */
static void
count_last_minute(CpmSample *sample)
{
	CpmCounters then = cpm_minute_counters_read();
	CpmCounters now = cpm_sample_counters_now();
	double		seconds = Max((double) (now.at_us - then.at_us) / USECS_PER_SEC, 60.0);

	sample->value[CPM_REJECTED_CONNECTIONS] =
		(double) (now.refused_for_slots - then.refused_for_slots);
	sample->value[CPM_CONNECTIONS_PER_SECOND] =
		(double) (now.sessions_opened - then.sessions_opened) / seconds;
	count_queries(sample, now.queries, &then.queries);
}

int
cpm_sample_sources(void)
{
	return CPM_SOURCE_LIVE | (cpm_poolers_count() > 0 ? CPM_SOURCE_POOLERS : 0) |
		(cpm_is_preloaded() ? CPM_SOURCE_HISTORY | CPM_SOURCE_COUNTERS : 0);
}

void
cpm_sample_take(CpmSample *sample, const CpmSampleObserver *observer)
{
	Counting	counting = {
		.sample = sample,
		.ages = cpm_settings_ages(),
		.observer = observer,
	};

	/* the server's setting, so that long_queries is the same in every session and in alerts */
	counting.ages.slow_statement_us =
		cpm_server_setting(CPM_SERVER_SLOW_STATEMENT_TIME) * INT64CONST(1000);
	memset(sample, 0, sizeof(*sample));
	sample->taken_at = GetCurrentTimestamp();
	sample->max_connections = MaxConnections;
	sample->usable_slots = MaxConnections - cpm_reserved_slots();
	sample->sources = cpm_sample_sources();

	counting.freshness = cpm_poolers_freshness();

	sample->value[CPM_TOTAL_CONNECTIONS] =
		cpm_backends_scan(observer ? observer->scan : CPM_SCAN_STATES, count_session, &counting);
	count_prepared(&counting);
	sample->value[CPM_OLDEST_TRANSACTION_SECONDS] =
		(double) cpm_age_us(sample->taken_at, counting.oldest_transaction) / USECS_PER_SEC;

	sample->value[CPM_POOL_WAITING_CLIENTS] = cpm_poolers_waiting();
	sample->pooled_connections = counting.freshness.all_fresh ? counting.pooled : NAN;
	if (!counting.freshness.all_fresh)
		sample->value[CPM_DIRECT_CONNECTIONS] = NAN;

	/*
	 * The metrics in this range of the enum need the extension's shared memory. Without it,
	 * sample->sources lacks their sources, and listings omit them.
	 */
	for (int i = CPM_SLOW_STATEMENTS; i <= CPM_EXHAUSTION_SECONDS; i++)
		sample->value[i] = NAN;
	if (cpm_is_preloaded())
	{
		count_last_minute(sample);
		sample->value[CPM_EXHAUSTION_SECONDS] = forecast_exhaustion(sample);
	}
}
