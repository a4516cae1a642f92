/* SPDX-License-Identifier: PostgreSQL */
/*
 * take_sample.c
 *		Takes a sample: the one path by which every reader sees the present.
 *
 * SQL, the sampler and (through them) alerts, history and health all come
 * here. Counts sessions in one pass and adds what the history knows: the
 * forecast of when no slot is left.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/growth.h"
#include "base/query_counts.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "counters/backend_counters.h"
#include "counters/minute_counters.h"
#include "counters/session_counters.h"
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
	TimestampTz oldest_transaction; /* 0 for none */
	const CpmSampleObserver *watcher;	/* NULL when there is none */
	CpmPoolersAsked asked;
	int			pooled;
} Counting;

static void
remember_oldest(Counting *counting, TimestampTz start)
{
	if (start != 0 && (counting->oldest_transaction == 0 || start < counting->oldest_transaction))
		counting->oldest_transaction = start;
}

/*
 * A session that is neither counts for neither; nor is one direct that does not track its
 * activities, which counts in total_connections only.
 */
static void
count_pooling(Counting *counting, const CpmSession *session)
{
	int			pooler;
	CpmPooling	pooling = cpm_pooling_of(session, &counting->asked, &pooler);

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
	if (counting->asked.all_fresh)
		count_pooling(counting, session);
	if (counting->watcher && counting->watcher->session)
		counting->watcher->session(session, counting->watcher->arg);
	if (!session->exempt)
		remember_oldest(counting, session->xact_start);
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
		remember_oldest(counting, list[i].prepared_at);
		if (counting->watcher && counting->watcher->prepared)
			counting->watcher->prepared(&list[i], counting->watcher->arg);
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
cpm_counters_now(TimestampTz at)
{
	CpmCounters counters = {
		.at = at,
		.refused_for_slots = cpm_rejections_for_slots(),
		.sessions_opened = cpm_sessions_opened(),
		.queries = cpm_slots_counts(),
	};

	return counters;
}

/* Fewer statements than that say nothing about how they fare on average. */
#define FEWEST_QUERIES 20

static void
count_queries(CpmSample *sample, CpmQueryCounts counts, const CpmQueryCounts *then)
{
	double		queries;

	cpm_query_counts_subtract(&counts, then);
	queries = (double) counts.of[CPM_QUERIES];
	sample->value[CPM_SLOW_STATEMENTS] = (double) counts.of[CPM_SLOW_QUERIES];
	sample->value[CPM_FAILED_QUERY_PERCENT] = queries < FEWEST_QUERIES ? 0 :
		100.0 * (double) counts.of[CPM_FAILED_QUERIES] / queries;
	sample->value[CPM_AVERAGE_QUERY_TIME_MS] = queries < FEWEST_QUERIES ? 0 :
		(double) counts.of[CPM_QUERY_TIME_US] / queries / 1000.0;
}

/* The metrics of the last minute, from what counters were then and are now. */
static void
count_last_minute(CpmSample *sample)
{
	CpmCounters now = cpm_counters_now(sample->taken_at);
	CpmCounters then = cpm_counters_minute_ago(sample->taken_at);
	double		seconds = Max((double) (now.at - then.at) / USECS_PER_SEC, 60.0);

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
cpm_sample_take(CpmSample *sample, const CpmSampleObserver *watcher)
{
	Counting	counting = {
		.sample = sample,
		.ages = cpm_settings_ages(),
		.watcher = watcher,
	};

	memset(sample, 0, sizeof(*sample));
	sample->taken_at = GetCurrentTimestamp();
	sample->max_connections = MaxConnections;
	sample->usable_slots = MaxConnections - cpm_reserved_slots();
	sample->sources = cpm_sample_sources();

	counting.asked = cpm_poolers_asked(sample->taken_at);

	sample->value[CPM_TOTAL_CONNECTIONS] = cpm_backends_scan(false, count_session, &counting);
	count_prepared(&counting);
	sample->value[CPM_OLDEST_TRANSACTION_SECONDS] =
		(double) cpm_age_us(sample->taken_at, counting.oldest_transaction) / USECS_PER_SEC;

	sample->value[CPM_POOL_WAITING_CLIENTS] = cpm_poolers_waiting(sample->taken_at);
	sample->pooled_connections = counting.asked.all_fresh ? counting.pooled : NAN;
	if (!counting.asked.all_fresh)
		sample->value[CPM_DIRECT_CONNECTIONS] = NAN;

	/* without our own memory these are not known, and left out of every listing */
	for (int i = CPM_SLOW_STATEMENTS; i <= CPM_EXHAUSTION_SECONDS; i++)
		sample->value[i] = NAN;
	if (cpm_is_preloaded())
	{
		count_last_minute(sample);
		sample->value[CPM_EXHAUSTION_SECONDS] = forecast_exhaustion(sample);
	}
}
