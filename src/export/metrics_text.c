/* SPDX-License-Identifier: PostgreSQL */
/*
 * metrics_text.c
 *		connpool_metrics(): all metric families, for Prometheus.
 *
 * One pass over the sessions fills the sample and counts the sessions of each pool by state, so
 * that the families agree with each other. Clients choose application names, so the number of
 * series must be bounded: up to CPM_MAX_POOL_SERIES pools have series of their own, and the series
 * "other" is the sum of the remaining pools. Counters come from counters/monotonic_counters,
 * because Prometheus interprets any decrease of a counter as a reset to zero.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "base/metric_settings.h"
#include "base/pooler.h"
#include "base/rejection.h"
#include "base/session.h"
#include "base/sqlstates.h"
#include "base/version.h"
#include "counters/backend_counters.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_table.h"
#include "events/errors.h"
#include "export/metrics_text.h"
#include "export/prometheus.h"
#include "export/recorder_metrics.h"
#include "fmgr.h"
#include "functions/access.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "samples/pooler_state.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_metrics_1_0);

#define UNIX_EPOCH_US ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct StateCounts
{
	int			of[CPM_STATES];
	int			total;
} StateCounts;

/* The data and the output of one call of cpm_write_metrics(). */
typedef struct Scrape
{
	CpmExposition out;
	CpmSample	sample;
	CpmMonotonicCounters *monotonic;
	StateCounts *by_pool;		/* by slot of counters/pool_table */
	StateCounts unknown;		/* sessions in "(other)", without a pool or not visited */
} Scrape;

static void
count_visible_session(const CpmSession *session, void *arg)
{
	Scrape	   *scrape = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);
	StateCounts *counts = pool > CPM_OTHER_POOL && pool < scrape->monotonic->pools.slots ?
		&scrape->by_pool[pool] : &scrape->unknown;

	counts->of[session->state]++;
	counts->total++;
}

/*
 * Add to the state "starting" the sessions that hold a connection slot but have no backend status
 * yet. The sample includes them, although the pass did not visit them.
 */
static void
count_hidden_sessions(Scrape *scrape)
{
	int			hidden = (int) scrape->sample.value[CPM_TOTAL_CONNECTIONS] -
		scrape->unknown.total;

	for (int i = 0; i < scrape->monotonic->pools.slots; i++)
		hidden -= scrape->by_pool[i].total;
	hidden = Max(hidden, 0);
	scrape->unknown.of[CPM_STATE_STARTING] += hidden;
	scrape->unknown.total += hidden;
}

static void
gather(Scrape *scrape)
{
	CpmSampleObserver observer = {.session = count_visible_session, .arg = scrape};

	scrape->monotonic = cpm_monotonic_read();
	scrape->by_pool = palloc0(scrape->monotonic->pools.slots * sizeof(StateCounts));
	cpm_sample_take(&scrape->sample, &observer);
	count_hidden_sessions(scrape);
}

/*
 * Return the number of sessions in a state. Sessions whose state is unknown count as starting, so
 * that the exported states are those of pg_stat_activity in PostgreSQL 18.
 */
static int
state_count(const StateCounts *counts, CpmState state)
{
	return counts->of[state] +
		(state == CPM_STATE_STARTING ? counts->of[CPM_STATE_UNKNOWN] : 0);
}

/*
 * Append the samples of one database. Omits states without sessions, except the common ones, so
 * that their series do not vanish whenever they are zero.
 */
static void
write_database_states(CpmExposition *out, const char *database, const StateCounts *counts)
{
	for (CpmState state = CPM_STATE_DISABLED; state < CPM_STATES; state++)
	{
		bool		is_common = state == CPM_STATE_IDLE || state == CPM_STATE_ACTIVE ||
			state == CPM_STATE_IDLE_IN_TRANSACTION;
		int			count = state_count(counts, state);

		if (count == 0 && !is_common)
			continue;
		cpm_sample_begin(out);
		cpm_sample_label(out, "database", database);
		cpm_sample_label(out, "state", cpm_state_name(state));
		cpm_sample_end(out, count);
	}
}

static void
add_state_counts(StateCounts *sum, const StateCounts *counts)
{
	for (int state = 0; state < CPM_STATES; state++)
		sum->of[state] += counts->of[state];
	sum->total += counts->total;
}

/*
 * Append the samples of the databases that write_queries() names, so that the number of series is
 * bounded; the sessions of all others count in CPM_SERIES_NO_DATABASE. Includes databases without
 * sessions, because an average over time would omit the times without a sample.
 */
static void
write_states(Scrape *scrape)
{
	const CpmMonotonicCounters *monotonic = scrape->monotonic;
	StateCounts *sum = palloc0(monotonic->databases * sizeof(StateCounts));

	sum[CPM_OTHER_DATABASE] = scrape->unknown;
	for (int i = CPM_OTHER_POOL + 1; i < monotonic->pools.slots; i++)
		add_state_counts(&sum[monotonic->database_of_pool[i]], &scrape->by_pool[i]);
	for (int i = 0; i < monotonic->databases; i++)
		if (i != CPM_OTHER_DATABASE || sum[i].total > 0 || monotonic->database[i].queries > 0)
			write_database_states(&scrape->out, monotonic->database[i].name, &sum[i]);
	pfree(sum);
}

static void
write_connections(Scrape *scrape)
{
	CpmExposition *out = &scrape->out;
	const CpmSample *sample = &scrape->sample;

	cpm_family_begin(out, "connections", CPM_GAUGE,
					 "Client sessions by database and state; each holds a connection slot.");
	write_states(scrape);
	cpm_family_begin(out, "max_connections", CPM_GAUGE, "The setting max_connections.");
	cpm_sample_unlabeled(out, sample->max_connections);
	cpm_family_begin(out, "reserved_connections", CPM_GAUGE,
					 "Slots that only superusers or reserved roles may take.");
	cpm_sample_unlabeled(out, sample->max_connections - sample->usable_slots);
	cpm_family_begin(out, "usable_connections", CPM_GAUGE, "Slots that every role may take.");
	cpm_sample_unlabeled(out, sample->usable_slots);
	cpm_family_begin(out, "in_recovery", CPM_GAUGE, "1 on a standby, 0 on a primary.");
	cpm_sample_unlabeled(out, RecoveryInProgress());
}

static void
write_sessions(Scrape *scrape)
{
	static const char *const ends[CPM_SESSION_ENDS] = {"closed", "abandoned", "failed", "killed"};
	const CpmMonotonicTotals *totals = &scrape->monotonic->totals;
	CpmExposition *out = &scrape->out;

	cpm_family_begin(out, "connections_opened", CPM_COUNTER, "Sessions that were established.");
	cpm_sample_unlabeled(out, (double) totals->opened);
	cpm_family_begin(out, "connections_closed", CPM_COUNTER,
					 "Sessions that ended: closed by their client, abandoned by a client that "
					 "disappeared, failed with a fatal error, or killed by an administrator or a "
					 "shutdown.");
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		cpm_sample_labeled(out, "reason", ends[i], (double) totals->ended[i]);
	cpm_family_begin(out, "connections_rejected", CPM_COUNTER, "Connections that were refused.");
	for (int i = 0; i < CPM_REJECTIONS; i++)
		cpm_sample_labeled(out, "reason", cpm_rejection_name(i), (double) totals->refused[i]);
}

static void
write_queries(Scrape *scrape)
{
	const CpmMonotonicCounters *monotonic = scrape->monotonic;
	const CpmDatabaseCounters *database = monotonic->database;
	bool		has_other = database[CPM_OTHER_DATABASE].queries > 0;
	int			first = CPM_OTHER_DATABASE + !has_other;
	CpmExposition *out = &scrape->out;

	cpm_family_begin(out, "queries", CPM_COUNTER, "Statements of clients, including failed ones.");
	for (int i = first; i < monotonic->databases; i++)
		cpm_sample_labeled(out, "database", database[i].name, (double) database[i].queries);
	cpm_family_begin(out, "query_errors", CPM_COUNTER, "Statements of clients that failed.");
	for (int i = first; i < monotonic->databases; i++)
		cpm_sample_labeled(out, "database", database[i].name, (double) database[i].failed);
}

/*
 * Return the label for an SQLSTATE: its class, which is copied to the buffer "class", or
 * CPM_SERIES_OTHER for a class that PostgreSQL does not define. Users can raise any code and could
 * otherwise create any number of series.
 */
static const char *
error_class(int sqlstate, char *class)
{
	strlcpy(class, sqlstate != 0 ? unpack_sql_state(sqlstate) : "", 3);
	return class[0] != '\0' && cpm_is_known_class(class) ? class : CPM_SERIES_OTHER;
}

static void
write_errors(Scrape *scrape)
{
	const uint64 *error = scrape->monotonic->totals.error;
	char		buffer[CPM_ERROR_CODES + 1][3];
	const char *class[CPM_ERROR_CODES + 1];
	double		sum[CPM_ERROR_CODES + 1];
	int			classes = 0;

	cpm_family_begin(&scrape->out, "errors", CPM_COUNTER,
					 "Errors that were sent to clients, by SQLSTATE class.");
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
	{
		const char *name;
		int			found = 0;

		if (error[i] == 0)
			continue;
		name = error_class(cpm_errors_get(i).sqlstate, buffer[classes]);
		while (found < classes && strcmp(class[found], name) != 0)
			found++;
		if (found == classes)
		{
			class[classes] = name;
			sum[classes++] = 0;
		}
		sum[found] += (double) error[i];
	}
	for (int i = 0; i < classes; i++)
		cpm_sample_labeled(&scrape->out, "class", class[i], sum[i]);
}

/*
 * Fill in the bounds of a histogram and return their number. Each bound is twice the previous one,
 * from lowest to highest. From dense_from to dense_to, there is a further bound halfway between
 * each bound and the next. All are bounds of a CpmHistogram's buckets if lowest is a power of two.
 */
static int
fill_bounds(double *bounds_us, double lowest, double highest, double dense_from, double dense_to)
{
	int			count = 0;

	for (double bound = lowest; bound <= highest; bound *= 2)
	{
		bounds_us[count++] = bound;
		if (bound >= dense_from && bound < dense_to)
			bounds_us[count++] = bound * 1.5;
	}
	return count;
}

static void
write_histogram(Scrape *scrape, const char *name, const char *help, const CpmHistogram *histogram,
				uint64 sum_us, const double *bounds_us, int bounds)
{
	cpm_family_begin(&scrape->out, name, CPM_HISTOGRAM, help);
	cpm_sample_histogram(&scrape->out, histogram, sum_us, bounds_us, bounds);
}

#define KIBI 1024.0
#define MEBI (1024.0 * 1024.0)

static void
write_durations(Scrape *scrape)
{
	const CpmMonotonicTotals *totals = &scrape->monotonic->totals;
	double		bounds_us[40];
	int			bounds;

	/* 128 us to 34 s, with twice as many bounds between 1 ms and 1 s */
	bounds = fill_bounds(bounds_us, 128, 32 * MEBI, KIBI, MEBI);
	write_histogram(scrape, "query_duration_seconds", "Time that statements took on the server.",
					&totals->query_times, totals->counts.of[CPM_QUERY_TIME_US], bounds_us, bounds);
	/* 16 ms to 19 h */
	bounds = fill_bounds(bounds_us, 16 * KIBI, 64 * KIBI * MEBI, 0, 0);
	write_histogram(scrape, "session_duration_seconds", "Duration of sessions that have ended.",
					&totals->session_times, totals->session_time_us, bounds_us, bounds);
	/* 512 us to 34 s */
	bounds = fill_bounds(bounds_us, 512, 32 * MEBI, 0, 0);
	write_histogram(scrape, "connection_setup_seconds", "Time that it took to establish sessions.",
					&totals->setup_times, totals->setup_time_us, bounds_us, bounds);
	cpm_family_begin(&scrape->out, "slow_statements", CPM_COUNTER,
					 "Statements that took longer than slow_statement_time.");
	cpm_sample_unlabeled(&scrape->out, (double) totals->counts.of[CPM_SLOW_QUERIES]);
}

static void
write_suspects(Scrape *scrape)
{
	static const struct
	{
		const char *name;
		CpmMetricId metric;
	}			gauges[] = {
		{"blocked_sessions", CPM_BLOCKED_SESSIONS},
		{"long_transactions", CPM_LONG_TRANSACTIONS},
		{"leak_suspects", CPM_LEAK_SUSPECTS},
		{"oldest_transaction_seconds", CPM_OLDEST_TRANSACTION_SECONDS},
	};
	CpmExposition *out = &scrape->out;

	for (size_t i = 0; i < lengthof(gauges); i++)
	{
		cpm_family_begin(out, gauges[i].name, CPM_GAUGE, cpm_catalogue[gauges[i].metric].help);
		cpm_sample_unlabeled(out, scrape->sample.value[gauges[i].metric]);
	}
	cpm_family_begin(out, "leaks_detected", CPM_COUNTER,
					 "Suspected connection leaks; each is counted once.");
	cpm_sample_unlabeled(out, (double) scrape->monotonic->totals.leaks);
}

static void
write_pool_states(CpmExposition *out, const CpmPoolName *name, const StateCounts *counts)
{
	for (CpmState state = CPM_STATE_DISABLED; state < CPM_STATES; state++)
	{
		int			count = state_count(counts, state);

		if (count == 0)
			continue;
		cpm_pool_sample_begin(out, name);
		cpm_sample_label(out, "state", cpm_state_name(state));
		cpm_sample_end(out, count);
	}
}

static void
write_pool_connections(Scrape *scrape)
{
	const CpmPoolSnapshot *pools = &scrape->monotonic->pools;
	StateCounts other = scrape->unknown;

	/* the 20 in the help texts of the families of pools is CPM_MAX_POOL_SERIES */
	cpm_family_begin(&scrape->out, "pool_connections", CPM_GAUGE,
					 "Sessions by pool and state, of up to 20 pools; the others are summed up.");
	for (int i = 0; i < pools->slots; i++)
		if (scrape->monotonic->has_series[i])
			write_pool_states(&scrape->out, &pools->pool[i].name, &scrape->by_pool[i]);
		else
			add_state_counts(&other, &scrape->by_pool[i]);
	write_pool_states(&scrape->out, NULL, &other);
}

static void
write_pool_queries(Scrape *scrape)
{
	const CpmMonotonicCounters *monotonic = scrape->monotonic;

	cpm_family_begin(&scrape->out, "pool_queries", CPM_COUNTER,
					 "Statements by pool, of up to 20 pools, since the series of each pool began.");
	for (int i = 0; i < monotonic->pools.slots; i++)
	{
		if (!monotonic->has_series[i])
			continue;
		cpm_pool_sample_begin(&scrape->out, &monotonic->pools.pool[i].name);
		cpm_sample_end(&scrape->out, (double) monotonic->series_queries[i]);
	}
	cpm_pool_sample_begin(&scrape->out, NULL);
	cpm_sample_end(&scrape->out, (double) monotonic->other_queries);
}

static void
write_statuses(Scrape *scrape)
{
	CpmExposition *out = &scrape->out;

	cpm_family_begin(out, "metric_status", CPM_GAUGE,
					 "The current value against its thresholds: 0 OK, 1 WARNING, 2 CRITICAL.");
	for (int i = 0; i < CPM_METRICS; i++)
		if (cpm_metric_is_available(&cpm_catalogue[i], scrape->sample.sources))
			cpm_sample_labeled(out, "metric", cpm_catalogue[i].name,
							   cpm_evaluate_metric(i, &scrape->sample,
												   cpm_settings_thresholds(i)).status);
	cpm_family_begin(out, "alerts", CPM_COUNTER,
					 "Changes of an alert to a status, since the server started.");
	for (int i = 0; i < CPM_METRICS; i++)
		for (CpmStatus status = CPM_OK; status <= CPM_CRITICAL; status++)
		{
			if (!cpm_metric_is_available(&cpm_catalogue[i], scrape->sample.sources))
				continue;
			cpm_sample_begin(out);
			cpm_sample_label(out, "metric", cpm_catalogue[i].name);
			cpm_sample_label(out, "status", cpm_status_name(status));
			cpm_sample_end(out, (double) cpm_alert_changes(i, status));
		}
}

/* A state of PgBouncer's connections, and the column of SHOW POOLS that counts it. */
typedef struct StateColumn
{
	const char *label;
	CpmPoolNumber number;
} StateColumn;

static const StateColumn client_states[] = {
	{"active", CPM_CL_ACTIVE}, {"waiting", CPM_CL_WAITING},
};
static const StateColumn server_states[] = {
	{"active", CPM_SV_ACTIVE}, {"idle", CPM_SV_IDLE}, {"used", CPM_SV_USED},
	{"tested", CPM_SV_TESTED}, {"login", CPM_SV_LOGIN},
};

static void
begin_pooler_sample(CpmExposition *out, const char *pooler, const CpmPoolerPool *pool)
{
	cpm_sample_begin(out);
	cpm_sample_label(out, "pooler", pooler);
	cpm_sample_label(out, "database", pool->database);
	cpm_sample_label(out, "user", pool->user);
}

static void
write_pooler_states(CpmExposition *out, const char *pooler, const CpmPoolerAnswer *answer,
					const StateColumn *states, int count)
{
	for (int i = 0; i < answer->pools; i++)
		for (int j = 0; j < count; j++)
		{
			begin_pooler_sample(out, pooler, &answer->pool[i]);
			cpm_sample_label(out, "state", states[j].label);
			cpm_sample_end(out, (double) Max(answer->pool[i].number[states[j].number], 0));
		}
}

static void
write_pooler_wait(CpmExposition *out, const char *pooler, const CpmPoolerAnswer *answer)
{
	for (int i = 0; i < answer->pools; i++)
	{
		const int64 *number = answer->pool[i].number;

		begin_pooler_sample(out, pooler, &answer->pool[i]);
		cpm_sample_end(out, (double) Max(number[CPM_MAXWAIT], 0) +
					   (double) Max(number[CPM_MAXWAIT_US], 0) / 1e6);
	}
}

/*
 * Merge the pools without a series into a pool whose database and user are both "other". If the
 * answer has such a pool already, merge them into that one, because Prometheus rejects a scrape in
 * which a series occurs twice.
 */
static void
merge_pools(CpmPoolerAnswer *answer)
{
	int			pools = answer->pools;

	answer->pools = 0;
	for (int i = 0; i < pools; i++)
	{
		CpmPoolerPool pool = answer->pool[i];

		if (!pool.has_series)
		{
			strlcpy(pool.database, CPM_SERIES_OTHER, sizeof(pool.database));
			strlcpy(pool.user, CPM_SERIES_OTHER, sizeof(pool.user));
		}
		cpm_pooler_add_pool(answer, &pool);
	}
}

/*
 * Append the families of PgBouncer. Omit the pools of a console that is down, because its last
 * answer would look current.
 */
static void
write_poolers(Scrape *scrape)
{
	int			poolers = cpm_poolers_count();
	CpmPoolerAnswer *answer = palloc(poolers * sizeof(CpmPoolerAnswer) + 1);
	CpmExposition *out = &scrape->out;

	if (poolers == 0)
		return;
	cpm_family_begin(out, "pgbouncer_up", CPM_GAUGE, "1 if the console of the PgBouncer answers.");
	for (int i = 0; i < poolers; i++)
	{
		CpmPoolerState state = cpm_pooler_state(i);
		bool		is_fresh = cpm_pooler_is_fresh(i);

		cpm_sample_labeled(out, "pooler", state.name, is_fresh && state.up);
		answer[i].pools = 0;
		if (is_fresh && !cpm_pooler_answer(i, &answer[i]))
			answer[i].pools = 0;
		merge_pools(&answer[i]);
	}
	cpm_family_begin(out, "pgbouncer_client_connections", CPM_GAUGE,
					 "Clients of PgBouncer by state.");
	for (int i = 0; i < poolers; i++)
		write_pooler_states(out, cpm_pooler_state(i).name, &answer[i], client_states,
							lengthof(client_states));
	cpm_family_begin(out, "pgbouncer_server_connections", CPM_GAUGE,
					 "Server connections of PgBouncer by state.");
	for (int i = 0; i < poolers; i++)
		write_pooler_states(out, cpm_pooler_state(i).name, &answer[i], server_states,
							lengthof(server_states));
	cpm_family_begin(out, "pgbouncer_maxwait_seconds", CPM_GAUGE,
					 "Time that the first client in the queue has waited.");
	for (int i = 0; i < poolers; i++)
		write_pooler_wait(out, cpm_pooler_state(i).name, &answer[i]);
	pfree(answer);
}

/* Append the families about connpool_monitor itself. */
static void
write_itself(Scrape *scrape)
{
	CpmWorkerStatus sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	TimestampTz last_round = cpm_last_round_at(&sampler);
	CpmExposition *out = &scrape->out;

	cpm_family_begin(out, "sampler_last_success_timestamp_seconds", CPM_GAUGE,
					 "Unix time of the last sample.");
	cpm_sample_unlabeled(out, last_round != 0 ?
						 (double) (last_round + UNIX_EPOCH_US) / USECS_PER_SEC : 0);
	cpm_family_begin(out, "sample_duration_seconds", CPM_GAUGE, "Time that the last sample took.");
	cpm_sample_unlabeled(out, sampler.last_round != 0 ? sampler.cost_ms / 1000 : 0);
	cpm_family_begin(out, "samples_missed", CPM_COUNTER,
					 "Samples that the sampler skipped because it was an interval or more late.");
	cpm_sample_unlabeled(out, (double) sampler.missed);
	cpm_family_begin(out, "build_info", CPM_GAUGE, "Always 1; the labels have the versions.");
	cpm_sample_begin(out);
	cpm_sample_label(out, "version", CPM_VERSION);
	cpm_sample_label(out, "server_version", PG_VERSION);
	cpm_sample_end(out, 1);
}

void
cpm_write_metrics(StringInfo text, bool openmetrics)
{
	Scrape	   *scrape = palloc0(sizeof(Scrape));

	scrape->out.text = text;
	scrape->out.openmetrics = openmetrics;

	/*
	 * A result of SQL is converted from the database's to the client's encoding, which can fail
	 * for UTF-8 text unless both are UTF-8. The HTTP worker, which has no database, sends UTF-8.
	 */
	scrape->out.only_ascii = OidIsValid(MyDatabaseId) &&
		(GetDatabaseEncoding() != PG_UTF8 || pg_get_client_encoding() != PG_UTF8);
	gather(scrape);
	write_connections(scrape);
	write_sessions(scrape);
	write_queries(scrape);
	write_errors(scrape);
	write_durations(scrape);
	write_suspects(scrape);
	cpm_write_recorded_events(&scrape->out, &scrape->monotonic->totals);
	write_pool_connections(scrape);
	write_pool_queries(scrape);
	cpm_write_recorded_load(&scrape->out, scrape->monotonic);
	write_statuses(scrape);
	write_poolers(scrape);
	write_itself(scrape);
	cpm_exposition_end(&scrape->out);
}

Datum
connpool_metrics_1_0(PG_FUNCTION_ARGS)
{
	StringInfoData text;

	(void) fcinfo;
	cpm_require_preloaded("connpool_metrics()");
	initStringInfo(&text);
	cpm_write_metrics(&text, false);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}
