/* SPDX-License-Identifier: PostgreSQL */
/*
 * metrics_text.c
 *		connpool_metrics(): everything as families of metrics, for Prometheus.
 *
 * One pass over the sessions fills the sample and counts them by pool. Series are
 * bounded whatever clients call themselves: twenty pools have their names, the rest is
 * "other" (counters/monotonic_counters).
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "base/rejection.h"
#include "base/session.h"
#include "base/settings.h"
#include "base/sqlstates.h"
#include "base/version.h"
#include "counters/backend_counters.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_table.h"
#include "events/errors.h"
#include "export/metrics_text.h"
#include "export/prometheus.h"
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

#define POOLER_POOLS 50			/* of each PgBouncer that are named */
#define UNIX_EPOCH_US ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct StateCounts
{
	int			of[CPM_STATES];
	int			total;
} StateCounts;

typedef struct Facts
{
	CpmExposition out;
	CpmSample	sample;
	CpmMonotonicCounters *monotonic;
	StateCounts *by_pool;		/* by index of counters/pool_table */
	StateCounts unknown;		/* of no pool that is known */
} Facts;

static void
count_shown_session(const CpmSession *session, void *arg)
{
	Facts	   *facts = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);
	StateCounts *counts = pool > CPM_OTHER_POOL && pool < facts->monotonic->pools.slots ?
		&facts->by_pool[pool] : &facts->unknown;

	counts->of[session->state]++;
	counts->total++;
}

/* Sessions that are not shown yet hold a slot all the same. */
static void
count_hidden_sessions(Facts *facts)
{
	int			hidden = (int) facts->sample.value[CPM_TOTAL_CONNECTIONS] - facts->unknown.total;

	for (int i = 0; i < facts->monotonic->pools.slots; i++)
		hidden -= facts->by_pool[i].total;
	facts->unknown.of[CPM_STATE_STARTING] += Max(hidden, 0) + facts->unknown.of[CPM_STATE_UNKNOWN];
	facts->unknown.of[CPM_STATE_UNKNOWN] = 0;
	facts->unknown.total += Max(hidden, 0);
}

static void
gather_metrics(Facts *facts)
{
	CpmSampleObserver watcher = {.session = count_shown_session, .arg = facts};

	facts->monotonic = cpm_monotonic_read();
	facts->by_pool = palloc0(facts->monotonic->pools.slots * sizeof(StateCounts));
	cpm_sample_take(&facts->sample, &watcher);
	count_hidden_sessions(facts);
}

/* The state as it is shown; a session whose status never settled is shown as starting. */
static const char *
shown_state(CpmState state)
{
	return cpm_state_name(state == CPM_STATE_UNKNOWN ? CPM_STATE_STARTING : state);
}

static void
write_states(CpmExposition *out, const char *database, const StateCounts *counts)
{
	for (CpmState state = CPM_STATE_DISABLED; state < CPM_STATES; state++)
	{
		bool		is_common = state == CPM_STATE_IDLE || state == CPM_STATE_ACTIVE ||
			state == CPM_STATE_IDLE_IN_TRANSACTION;
		int			count = counts->of[state] + (state == CPM_STATE_STARTING ? counts->of[CPM_STATE_UNKNOWN] : 0);

		if (count == 0 && !is_common)
			continue;
		cpm_sample_begin(out);
		cpm_sample_label(out, "database", database);
		cpm_sample_label(out, "state", shown_state(state));
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

/* The first pool of each database speaks for all of them. */
static void
write_database_states(Facts *facts)
{
	const CpmPoolSnapshot *pools = &facts->monotonic->pools;
	StateCounts unknown = facts->unknown;

	for (int i = CPM_OTHER_POOL + 1; i < pools->slots; i++)
	{
		const char *database = pools->pool[i].name.database;
		StateCounts sum = {.total = 0};
		bool		is_first = pools->is_used[i] && strcmp(database, CPM_SERIES_NO_DATABASE) != 0;

		for (int j = CPM_OTHER_POOL + 1; j < i && is_first; j++)
			is_first = !pools->is_used[j] || strcmp(pools->pool[j].name.database, database) != 0;
		if (!is_first)
			continue;
		for (int j = i; j < pools->slots; j++)
			if (pools->is_used[j] && strcmp(pools->pool[j].name.database, database) == 0)
				add_state_counts(&sum, &facts->by_pool[j]);
		write_states(&facts->out, database, &sum);
	}
	for (int i = CPM_OTHER_POOL + 1; i < pools->slots; i++)
		if (pools->is_used[i] && strcmp(pools->pool[i].name.database, CPM_SERIES_NO_DATABASE) == 0)
			add_state_counts(&unknown, &facts->by_pool[i]);
	if (unknown.total > 0)
		write_states(&facts->out, CPM_SERIES_NO_DATABASE, &unknown);
}

static void
write_connections(Facts *facts)
{
	CpmExposition *out = &facts->out;
	const CpmSample *sample = &facts->sample;

	cpm_family(out, "connections", CPM_GAUGE, "Client sessions by database and state; all of them hold a connection slot.");
	write_database_states(facts);
	cpm_family(out, "max_connections", CPM_GAUGE, "The setting max_connections.");
	cpm_sample_alone(out, sample->max_connections);
	cpm_family(out, "reserved_connections", CPM_GAUGE, "Slots that only superusers or reserved roles may take.");
	cpm_sample_alone(out, sample->max_connections - sample->usable_slots);
	cpm_family(out, "usable_connections", CPM_GAUGE, "Slots that every role may take.");
	cpm_sample_alone(out, sample->usable_slots);
	cpm_family(out, "in_recovery", CPM_GAUGE, "1 on a standby, 0 on a primary.");
	cpm_sample_alone(out, RecoveryInProgress());
}

static void
write_sessions(Facts *facts)
{
	static const char *const ends[CPM_SESSION_ENDS] = {"closed", "abandoned", "failed", "killed"};
	const CpmMonotonicTotals *totals = &facts->monotonic->totals;
	CpmExposition *out = &facts->out;

	cpm_family(out, "connections_opened", CPM_COUNTER, "Sessions that were let in.");
	cpm_sample_alone(out, (double) totals->opened);
	cpm_family(out, "connections_closed", CPM_COUNTER, "Sessions that ended: by their client, because it went away, by a fatal error, by an administrator or the server's stop.");
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		cpm_sample_of(out, "reason", ends[i], (double) totals->ended[i]);
	cpm_family(out, "connections_rejected", CPM_COUNTER, "Connections that were refused.");
	for (int i = 0; i < CPM_REJECTIONS; i++)
		cpm_sample_of(out, "reason", cpm_rejection_name(i), (double) totals->refused[i]);
}

static const char *
database_label(const CpmDatabaseCounters *database)
{
	return database->name[0] != '\0' ? database->name : CPM_SERIES_NO_DATABASE;
}

static void
write_queries(Facts *facts)
{
	const CpmMonotonicCounters *monotonic = facts->monotonic;
	CpmExposition *out = &facts->out;

	cpm_family(out, "queries", CPM_COUNTER, "Statements of clients, failed ones included.");
	for (int i = 0; i < monotonic->databases; i++)
		cpm_sample_of(out, "database", database_label(&monotonic->database[i]), (double) monotonic->database[i].queries);
	cpm_family(out, "query_errors", CPM_COUNTER, "Statements of clients that failed.");
	for (int i = 0; i < monotonic->databases; i++)
		cpm_sample_of(out, "database", database_label(&monotonic->database[i]), (double) monotonic->database[i].failed);
}

/*
 * Return the label for an SQLSTATE: its class, or CPM_SERIES_OTHER for a class that PostgreSQL
 * does not define, because users can raise any code and would create any number of series.
 */
static const char *
error_class(int sqlstate, char *class)
{
	strlcpy(class, sqlstate != 0 ? unpack_sql_state(sqlstate) : "", 3);
	return class[0] != '\0' && cpm_is_known_class(class) ? class : CPM_SERIES_OTHER;
}

static void
write_errors(Facts *facts)
{
	const uint64 *error = facts->monotonic->totals.error;
	char		buffer[CPM_ERROR_CODES + 1][3];
	const char *class[CPM_ERROR_CODES + 1];
	double		sum[CPM_ERROR_CODES + 1];
	int			classes = 0;

	cpm_family(&facts->out, "errors", CPM_COUNTER, "Errors that clients met, by class of SQLSTATE.");
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
		cpm_sample_of(&facts->out, "class", class[i], sum[i]);
}

/* From so many microseconds on, doubling, and from half_from to half_to at one and a half too. */
static int
fill_bounds(double *bounds_us, double from, double to, double half_from, double half_to)
{
	int			count = 0;

	for (double bound = from; bound <= to; bound *= 2)
	{
		bounds_us[count++] = bound;
		if (bound >= half_from && bound < half_to)
			bounds_us[count++] = bound * 1.5;
	}
	return count;
}

static void
write_histogram(Facts *facts, const char *name, const char *help, const CpmHistogram *histogram,
				uint64 sum_us, const double *bounds_us, int bounds)
{
	cpm_family(&facts->out, name, CPM_HISTOGRAM, help);
	cpm_sample_histogram(&facts->out, histogram, sum_us, bounds_us, bounds);
}

#define KIBI 1024.0
#define MEBI (1024.0 * 1024.0)

static void
write_durations(Facts *facts)
{
	const CpmMonotonicTotals *totals = &facts->monotonic->totals;
	double		bounds_us[40];
	int			bounds;

	/* 128 us to 34 s, between 1 ms and 1 s twice as many */
	bounds = fill_bounds(bounds_us, 128, 32 * MEBI, KIBI, MEBI);
	write_histogram(facts, "query_duration_seconds", "How long statements took, on the server.",
					&totals->query_times, totals->counts.of[CPM_QUERY_TIME_US], bounds_us, bounds);
	/* 16 ms to 19 h */
	bounds = fill_bounds(bounds_us, 16 * KIBI, 64 * KIBI * MEBI, 0, 0);
	write_histogram(facts, "session_duration_seconds", "How long sessions lasted that ended.",
					&totals->session_times, totals->session_time_us, bounds_us, bounds);
	/* 512 us to 34 s */
	bounds = fill_bounds(bounds_us, 512, 32 * MEBI, 0, 0);
	write_histogram(facts, "connection_setup_seconds", "How long it took to let sessions in.",
					&totals->setup_times, totals->setup_time_us, bounds_us, bounds);
	cpm_family(&facts->out, "slow_statements", CPM_COUNTER, "Statements that took longer than slow_statement_time.");
	cpm_sample_alone(&facts->out, (double) totals->counts.of[CPM_SLOW_QUERIES]);
}

static void
write_troubles(Facts *facts)
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
	CpmExposition *out = &facts->out;

	for (size_t i = 0; i < lengthof(gauges); i++)
	{
		cpm_family(out, gauges[i].name, CPM_GAUGE, cpm_catalogue[gauges[i].metric].help);
		cpm_sample_alone(out, facts->sample.value[gauges[i].metric]);
	}
	cpm_family(out, "leaks_detected", CPM_COUNTER, "Suspected leaks of connections, each once.");
	cpm_sample_alone(out, (double) facts->monotonic->totals.leaks);
}

static void
label_pool(CpmExposition *out, const CpmPoolName *name)
{
	cpm_sample_begin(out);
	cpm_sample_label(out, "database", name ? name->database : CPM_SERIES_OTHER);
	cpm_sample_label(out, "role", name ? name->role : CPM_SERIES_OTHER);
	cpm_sample_label(out, "application", name ? name->application_name : CPM_SERIES_OTHER);
}

static void
write_pool_states(CpmExposition *out, const CpmPoolName *name, const StateCounts *counts)
{
	for (CpmState state = CPM_STATE_DISABLED; state < CPM_STATES; state++)
	{
		int			count = counts->of[state] + (state == CPM_STATE_STARTING ? counts->of[CPM_STATE_UNKNOWN] : 0);

		if (count == 0)
			continue;
		label_pool(out, name);
		cpm_sample_label(out, "state", shown_state(state));
		cpm_sample_end(out, count);
	}
}

static void
write_pool_connections(Facts *facts)
{
	const CpmPoolSnapshot *pools = &facts->monotonic->pools;
	StateCounts other = facts->unknown;

	cpm_family(&facts->out, "pool_connections", CPM_GAUGE,
			   "Sessions by pool and state, of up to 20 pools.");
	for (int i = 0; i < pools->slots; i++)
		if (facts->monotonic->is_named[i])
			write_pool_states(&facts->out, &pools->pool[i].name, &facts->by_pool[i]);
		else
			add_state_counts(&other, &facts->by_pool[i]);
	write_pool_states(&facts->out, NULL, &other);
}

static void
write_pool_queries(Facts *facts)
{
	const CpmMonotonicCounters *monotonic = facts->monotonic;

	cpm_family(&facts->out, "pool_queries", CPM_COUNTER,
			   "Statements by pool, of up to 20 pools; of each, since it has a series.");
	for (int i = 0; i < monotonic->pools.slots; i++)
	{
		if (!monotonic->is_named[i])
			continue;
		label_pool(&facts->out, &monotonic->pools.pool[i].name);
		cpm_sample_end(&facts->out, (double) monotonic->named_queries[i]);
	}
	label_pool(&facts->out, NULL);
	cpm_sample_end(&facts->out, (double) monotonic->other_queries);
}

static void
write_statuses(Facts *facts)
{
	CpmExposition *out = &facts->out;

	cpm_family(out, "metric_status", CPM_GAUGE, "0 OK, 1 WARNING, 2 CRITICAL: the value of now against its thresholds.");
	for (int i = 0; i < CPM_METRICS; i++)
		if (cpm_metric_exists(&cpm_catalogue[i], facts->sample.sources))
			cpm_sample_of(out, "metric", cpm_catalogue[i].name,
						  cpm_evaluate_metric(i, &facts->sample, cpm_settings_thresholds(i)).status);
	cpm_family(out, "alerts", CPM_COUNTER, "Alerts that came to a status, since the server started.");
	for (int i = 0; i < CPM_METRICS; i++)
		for (CpmStatus status = CPM_OK; status <= CPM_CRITICAL; status++)
		{
			if (!cpm_metric_exists(&cpm_catalogue[i], facts->sample.sources))
				continue;
			cpm_sample_begin(out);
			cpm_sample_label(out, "metric", cpm_catalogue[i].name);
			cpm_sample_label(out, "status", cpm_status_name(status));
			cpm_sample_end(out, (double) cpm_alert_changes(i, status));
		}
}

typedef struct PoolerState
{
	const char *state;
	CpmPoolNumber number;
} PoolerState;

static const PoolerState client_states[] = {{"active", CPM_CL_ACTIVE}, {"waiting", CPM_CL_WAITING}};
static const PoolerState server_states[] = {
	{"active", CPM_SV_ACTIVE}, {"idle", CPM_SV_IDLE}, {"used", CPM_SV_USED},
	{"tested", CPM_SV_TESTED}, {"login", CPM_SV_LOGIN},
};

static void
label_pooler(CpmExposition *out, const char *pooler, const CpmPoolerPool *pool)
{
	cpm_sample_begin(out);
	cpm_sample_label(out, "pooler", pooler);
	cpm_sample_label(out, "database", pool->database);
	cpm_sample_label(out, "user", pool->user);
}

static void
write_pooler_states(CpmExposition *out, const char *pooler, const CpmPoolerAnswer *answer,
					const PoolerState *states, int count)
{
	for (int i = 0; i < answer->pools; i++)
		for (int j = 0; j < count; j++)
		{
			label_pooler(out, pooler, &answer->pool[i]);
			cpm_sample_label(out, "state", states[j].state);
			cpm_sample_end(out, (double) Max(answer->pool[i].number[states[j].number], 0));
		}
}

static void
write_pooler_wait(CpmExposition *out, const char *pooler, const CpmPoolerAnswer *answer)
{
	for (int i = 0; i < answer->pools; i++)
	{
		const int64 *number = answer->pool[i].number;

		label_pooler(out, pooler, &answer->pool[i]);
		cpm_sample_end(out, (double) Max(number[CPM_MAXWAIT], 0) + (double) Max(number[CPM_MAXWAIT_US], 0) / 1e6);
	}
}

/* What is too much for series of its own becomes one: sums, and the longest wait. */
static void
shorten(CpmPoolerAnswer *answer)
{
	CpmPoolerPool *other = &answer->pool[POOLER_POOLS - 1];

	if (answer->pools <= POOLER_POOLS)
		return;
	for (int i = POOLER_POOLS; i < answer->pools; i++)
	{
		const int64 *number = answer->pool[i].number;
		bool		waits_longer = number[CPM_MAXWAIT] > other->number[CPM_MAXWAIT];

		for (int j = 0; j < CPM_MAXWAIT; j++)
			other->number[j] = Max(other->number[j], 0) + Max(number[j], 0);
		if (waits_longer)
			memcpy(&other->number[CPM_MAXWAIT], &number[CPM_MAXWAIT], 2 * sizeof(int64));
	}
	strlcpy(other->database, CPM_SERIES_OTHER, sizeof(other->database));
	strlcpy(other->user, CPM_SERIES_OTHER, sizeof(other->user));
	answer->pools = POOLER_POOLS;
}

/* Only what a console says now: an old answer is not shown as if it were today's. */
static void
write_poolers(Facts *facts)
{
	int			poolers = cpm_poolers_count();
	CpmPoolerAnswer *answer = palloc(poolers * sizeof(CpmPoolerAnswer) + 1);
	CpmExposition *out = &facts->out;

	if (poolers == 0)
		return;
	cpm_family(out, "pgbouncer_up", CPM_GAUGE, "1 while the console of that PgBouncer answers.");
	for (int i = 0; i < poolers; i++)
	{
		CpmPoolerState state = cpm_pooler_state(i);
		bool		is_fresh = cpm_pooler_is_fresh(i, facts->sample.taken_at);

		cpm_sample_of(out, "pooler", state.name, is_fresh && state.up);
		answer[i].pools = 0;
		if (is_fresh && !cpm_pooler_answer(i, &answer[i]))
			answer[i].pools = 0;
		shorten(&answer[i]);
	}
	cpm_family(out, "pgbouncer_client_connections", CPM_GAUGE, "Clients of PgBouncer by state.");
	for (int i = 0; i < poolers; i++)
		write_pooler_states(out, cpm_pooler_state(i).name, &answer[i], client_states, lengthof(client_states));
	cpm_family(out, "pgbouncer_server_connections", CPM_GAUGE, "Server connections of PgBouncer by state.");
	for (int i = 0; i < poolers; i++)
		write_pooler_states(out, cpm_pooler_state(i).name, &answer[i], server_states, lengthof(server_states));
	cpm_family(out, "pgbouncer_maxwait_seconds", CPM_GAUGE, "How long the first client in the queue has waited.");
	for (int i = 0; i < poolers; i++)
		write_pooler_wait(out, cpm_pooler_state(i).name, &answer[i]);
	pfree(answer);
}

static void
write_itself(Facts *facts)
{
	CpmWorkerStatus sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	CpmExposition *out = &facts->out;

	cpm_family(out, "sampler_last_success_timestamp_seconds", CPM_GAUGE, "When the last sample was taken.");
	cpm_sample_alone(out, sampler.last_round != 0 ?
					 (double) (sampler.last_round + UNIX_EPOCH_US) / USECS_PER_SEC : 0);
	cpm_family(out, "sample_duration_seconds", CPM_GAUGE, "What the last sample cost.");
	cpm_sample_alone(out, sampler.last_round != 0 ? sampler.cost_ms / 1000 : 0);
	cpm_family(out, "samples_missed", CPM_COUNTER, "Samples that came an interval or more late.");
	cpm_sample_alone(out, (double) sampler.missed);
	cpm_family(out, "build_info", CPM_GAUGE, "Versions, as labels.");
	cpm_sample_begin(out);
	cpm_sample_label(out, "version", CPM_VERSION);
	cpm_sample_label(out, "server_version", PG_VERSION);
	cpm_sample_end(out, 1);
}

void
cpm_write_metrics(StringInfo text, bool openmetrics)
{
	Facts	   *facts = palloc0(sizeof(Facts));

	facts->out.text = text;
	facts->out.openmetrics = openmetrics;
	/* a worker without a database has no encoding; HTTP has UTF-8 */
	facts->out.only_ascii = OidIsValid(MyDatabaseId) &&
		(GetDatabaseEncoding() != PG_UTF8 || pg_get_client_encoding() != PG_UTF8);
	gather_metrics(facts);
	write_connections(facts);
	write_sessions(facts);
	write_queries(facts);
	write_errors(facts);
	write_durations(facts);
	write_troubles(facts);
	write_pool_connections(facts);
	write_pool_queries(facts);
	write_statuses(facts);
	write_poolers(facts);
	write_itself(facts);
	cpm_exposition_end(&facts->out);
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
