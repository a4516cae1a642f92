/* SPDX-License-Identifier: PostgreSQL */
/*
 * catalogue.c
 *		The metric catalogue, and the evaluation of a metric in a sample.
 *
 * The array below is the only definition of the metrics: listings, settings, alerts, history and
 * health iterate over it. To add a metric, add an id to base/metric.h, its value to
 * samples/take_sample.c, an entry here, a row to doc/reference.md and an entry to the runbook of
 * doc/incident.md.
 */
#include "postgres.h"

#include <math.h>

#include "rules/catalogue.h"

#define OFF (-1)

const CpmMetric cpm_catalogue[CPM_METRICS] = {
	[CPM_ACTIVE_CONNECTIONS] = {
		.name = "active_connections",
		.help = "Connections that are executing a statement.",
		.hint = "Sessions that run statements hold most usable slots, probably more than there "
		"are cores: see connpool_running_queries and connpool_connection_states, and lower the "
		"size of the busiest pool rather than raising max_connections.",
		.unit = CPM_UNIT_CONNECTIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_USABLE,
		.max_is_setting = true,
		.is_percent = true,
		.warning = 80,
		.critical = 95,
	},
	[CPM_IDLE_CONNECTIONS] = {
		.name = "idle_connections",
		.help = "Connections that wait for their client outside a transaction.",
		.hint = "Pools hold more connections than they use: see connpool_clients, and lower the "
		"minimum size or the idle timeout of the largest pool.",
		.unit = CPM_UNIT_CONNECTIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_HALF_USABLE,
		.max_is_setting = true,
		.is_percent = true,
		.warning = 80,
		.critical = OFF,
	},
	[CPM_LONG_TRANSACTIONS] = {
		.name = "long_transactions",
		.help = "Transactions that have been open for longer than long_transaction_age, in any "
		"state.",
		.hint = "See connpool_sessions by xact_age; end a forgotten one with "
		"pg_terminate_backend(pid).",
		.unit = CPM_UNIT_TRANSACTIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_FIXED,
		.fixed_max = 5,
		.max_is_setting = true,
		.warning = 1,
		.critical = 3,
	},
	[CPM_TOTAL_CONNECTIONS] = {
		.name = "total_connections",
		.help = "Slots of max_connections in use, sessions that are still authenticating "
		"included.",
		.hint = "When no slot is left, ordinary roles are refused. connpool_clients shows which "
		"clients hold them; free idle ones with pg_terminate_backend(pid) and put a pooler in "
		"front before raising max_connections.",
		.unit = CPM_UNIT_CONNECTIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_USABLE,
		.is_percent = true,
		.warning = 80,
		.critical = 95,
	},
	[CPM_IDLE_IN_TRANSACTION] = {
		.name = "idle_in_transaction",
		.help = "Connections that wait for their client inside a transaction, failed ones "
		"included.",
		.hint = "Applications keep transactions open while they do other work: see "
		"connpool_connection_states, and set idle_in_transaction_session_timeout for their roles.",
		.unit = CPM_UNIT_CONNECTIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_USABLE,
		.is_percent = true,
		.warning = OFF,
		.critical = OFF,
	},
	[CPM_LEAK_SUSPECTS] = {
		.name = "leak_suspects",
		.help = "Transactions that have been idle, have waited for their client or have been "
		"prepared for longer than leak_age.",
		.hint = "See connpool_leaks. End a session with pg_terminate_backend(pid), a prepared "
		"transaction with ROLLBACK PREPARED, and set idle_in_transaction_session_timeout for the "
		"application's role.",
		.unit = CPM_UNIT_TRANSACTIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_FIXED,
		.fixed_max = 5,
		.warning = 1,
		.critical = 5,
	},
	[CPM_BLOCKED_SESSIONS] = {
		.name = "blocked_sessions",
		.help = "Sessions that have waited for a heavyweight lock for longer than blocked_age.",
		.hint = "See connpool_blocked_queries: root_blocker is at the head of the queue. Cancel "
		"its statement with pg_cancel_backend(root_blocker) if it runs one; if it is idle in "
		"transaction, end it with pg_terminate_backend(root_blocker).",
		.unit = CPM_UNIT_SESSIONS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_FIXED,
		.fixed_max = 10,
		.warning = 3,
		.critical = 10,
	},
	[CPM_OLDEST_TRANSACTION_SECONDS] = {
		.name = "oldest_transaction_seconds",
		.help = "Age of the oldest open transaction, including prepared ones.",
		.hint = "An old transaction can keep VACUUM from removing dead rows. See connpool_sessions "
		"by xact_age and connpool_leaks; end it, or list its application in "
		"connpool_monitor.exempt_applications.",
		.unit = CPM_UNIT_SECONDS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_NONE,
		.warning = 300,
		.critical = 900,
	},
	[CPM_LONG_QUERIES] = {
		.name = "long_queries",
		.help = "Statements that have been running for longer than slow_statement_time.",
		.hint = "See connpool_running_queries, and connpool_blocked_queries for those that wait "
		"for a lock; cancel one with pg_cancel_backend(pid).",
		.unit = CPM_UNIT_STATEMENTS,
		.source = CPM_SOURCE_LIVE,
		.maximum = CPM_MAX_FIXED,
		.fixed_max = 10,
		.warning = 3,
		.critical = 10,
	},
	[CPM_SLOW_STATEMENTS] = {
		.name = "slow_statements",
		.help = "Statements that ended in the last minute and took longer than "
		"slow_statement_time.",
		.hint = "connpool_slow_statements lists them with client and time; slow_queries lists "
		"the statements that are slow on average.",
		.unit = CPM_UNIT_STATEMENTS,
		.source = CPM_SOURCE_COUNTERS,
		.maximum = CPM_MAX_NONE,
		.is_immediate = true,
		.warning = 10,
		.critical = OFF,
	},
	[CPM_REJECTED_CONNECTIONS] = {
		.name = "rejected_connections",
		.help = "Connections refused in the last minute because no slot was free.",
		.hint = "Clients are being refused. See connpool_rejection_log for these clients and "
		"connpool_clients for the holders of the slots; free idle ones with "
		"pg_terminate_backend(pid) and lower the sizes of the pools before raising "
		"max_connections.",
		.unit = CPM_UNIT_REFUSALS,
		.source = CPM_SOURCE_COUNTERS,
		.maximum = CPM_MAX_NONE,
		.is_immediate = true,
		.warning = OFF,
		.critical = 1,
	},
	[CPM_CONNECTIONS_PER_SECOND] = {
		.name = "connections_per_second",
		.help = "Mean number of connections opened per second in the last minute.",
		.hint = "Clients open a connection for every request, and each connection costs a new "
		"process. Let them keep connections in a pool, or put a pooler such as PgBouncer in "
		"front.",
		.unit = CPM_UNIT_PER_SECOND,
		.source = CPM_SOURCE_COUNTERS,
		.maximum = CPM_MAX_NONE,
		.is_immediate = true,
		.warning = 50,
		.critical = OFF,
	},
	[CPM_FAILED_QUERY_PERCENT] = {
		.name = "failed_query_percent",
		.help = "Percentage of the statements of the last minute that failed; 0 if there were "
		"fewer than 20.",
		.hint = "See connpool_errors for the errors and connpool_pools by failed_queries for "
		"their clients. Retryable errors are transient; others come from the application or a "
		"deployment.",
		.unit = CPM_UNIT_PERCENT,
		.source = CPM_SOURCE_COUNTERS,
		.maximum = CPM_MAX_FIXED,
		.fixed_max = 100,
		.is_immediate = true,
		.warning = 5,
		.critical = 20,
	},
	[CPM_AVERAGE_QUERY_TIME_MS] = {
		.name = "average_query_time_ms",
		.help = "Mean time of the statements of the last minute, in milliseconds; 0 if there "
		"were fewer than 20.",
		.hint = "Either all statements are slow, or one that runs often: see connpool_pools by "
		"avg_time, connpool_slow_statements, and connpool_blocked_queries for lock waits.",
		.unit = CPM_UNIT_MILLISECONDS,
		.source = CPM_SOURCE_COUNTERS,
		.maximum = CPM_MAX_NONE,
		.is_immediate = true,
		.warning = 2000,
		.critical = OFF,
	},
	[CPM_EXHAUSTION_SECONDS] = {
		.name = "exhaustion_seconds",
		.help = "Forecast of the seconds until no usable slot is left, at the growth of the last "
		"five minutes.",
		.hint = "The number of connections grows steadily. See connpool_clients for the client "
		"that opens them, and stop that client or terminate its idle sessions before ordinary "
		"roles are refused.",
		.unit = CPM_UNIT_SECONDS,
		.source = CPM_SOURCE_HISTORY,
		.maximum = CPM_MAX_NONE,
		.low_is_bad = true,
		.warning = 600,
		.critical = 120,
	},
	[CPM_POOL_WAITING_CLIENTS] = {
		.name = "pool_waiting_clients",
		.help = "Clients that wait in PgBouncer for a server connection, in all pools.",
		.hint = "Every connection of a pool is in use: connpool_pgbouncer_pools shows the pool "
		"and the waiting time. Shorten its transactions before you enlarge the pool; "
		"connpool_pool_advice recommends a size.",
		.unit = CPM_UNIT_CLIENTS,
		.source = CPM_SOURCE_POOLERS,
		.maximum = CPM_MAX_NONE,
		.warning = 1,
		.critical = 10,
	},
	[CPM_DIRECT_CONNECTIONS] = {
		.name = "direct_connections",
		.help = "Connections that came through no known PgBouncer.",
		.hint = "Clients bypass the pooler: see connpool_sessions where pooled_by is NULL, and "
		"change the connection settings of these clients.",
		.unit = CPM_UNIT_CONNECTIONS,
		.source = CPM_SOURCE_POOLERS,
		.maximum = CPM_MAX_USABLE,
		.is_percent = true,
		.warning = OFF,
		.critical = OFF,
	},
};

bool
cpm_metric_is_available(const CpmMetric *metric, int sources)
{
	return (metric->source & sources) == metric->source;
}

/* Return the setting <metric>_max if it is set, else the default maximum; NaN if none. */
static double
maximum_of(const CpmMetric *metric, const CpmSample *sample, double setting)
{
	if (setting >= 1)
		return setting;
	switch (metric->maximum)
	{
		case CPM_MAX_USABLE:
			return sample->usable_slots;
		case CPM_MAX_HALF_USABLE:
			return sample->usable_slots / 2;	/* rounded down, as views show it */
		case CPM_MAX_FIXED:
			return metric->fixed_max;
		case CPM_MAX_NONE:
			break;
	}
	return NAN;
}

/*
 * Return a threshold in the metric's unit; NaN if it is off. A percentage of a maximum of 0 is off
 * as well, because any value would meet it.
 */
static double
threshold_of(const CpmMetric *metric, double maximum, double setting)
{
	if (setting < 0 || (metric->is_percent && maximum == 0))
		return NAN;
	return metric->is_percent ? setting * maximum / 100.0 : setting;
}

bool
cpm_meets_threshold(const CpmMetric *metric, double value, double threshold)
{
	if (isnan(threshold) || !cpm_is_number(value))
		return false;
	return metric->low_is_bad ? value <= threshold : value >= threshold;
}

CpmVerdict
cpm_evaluate_metric(CpmMetricId id, const CpmSample *sample, CpmThresholds thresholds)
{
	const CpmMetric *metric = &cpm_catalogue[id];
	CpmVerdict	verdict;

	verdict.value = sample->value[id];
	verdict.former_value = sample->value[id] + sample->uncounted[id];
	verdict.maximum = maximum_of(metric, sample, thresholds.maximum);
	verdict.warning = threshold_of(metric, verdict.maximum, thresholds.warning);
	verdict.critical = threshold_of(metric, verdict.maximum, thresholds.critical);
	verdict.status = CPM_OK;
	if (cpm_meets_threshold(metric, verdict.value, verdict.critical))
		verdict.status = CPM_CRITICAL;
	else if (cpm_meets_threshold(metric, verdict.value, verdict.warning))
		verdict.status = CPM_WARNING;
	return verdict;
}

const char *
cpm_status_name(CpmStatus status)
{
	switch (status)
	{
		case CPM_WARNING:
			return "WARNING";
		case CPM_CRITICAL:
			return "CRITICAL";
		case CPM_OK:
			break;
	}
	return "OK";
}

const char *
cpm_unit_name(CpmUnit unit)
{
	static const char *const names[] = {
		[CPM_UNIT_CONNECTIONS] = "connections",
		[CPM_UNIT_TRANSACTIONS] = "transactions",
		[CPM_UNIT_SESSIONS] = "sessions",
		[CPM_UNIT_STATEMENTS] = "statements",
		[CPM_UNIT_REFUSALS] = "refusals",
		[CPM_UNIT_CLIENTS] = "clients",
		[CPM_UNIT_PER_SECOND] = "a second",
		[CPM_UNIT_PERCENT] = "percent",
		[CPM_UNIT_MILLISECONDS] = "ms",
		[CPM_UNIT_SECONDS] = "seconds",
	};

	return names[unit];
}

int
cpm_metric_by_name(const char *name)
{
	for (int i = 0; i < CPM_METRICS; i++)
		if (strcmp(cpm_catalogue[i].name, name) == 0)
			return i;
	return -1;
}

/* Format a value with at most two decimals, without trailing zeros. */
static void
format_value(char *buffer, size_t size, double value)
{
	char	   *end;

	snprintf(buffer, size, "%.2f", value);
	for (end = buffer + strlen(buffer) - 1; *end == '0'; end--)
		*end = '\0';
	if (*end == '.')
		*end = '\0';
}

/*
 * Write a space and the unit. Writes nothing if the value is not a number, or if the unit is
 * seconds, because the names of these metrics contain it. Units before CPM_UNIT_PER_SECOND are
 * nouns: they lose their final "s" after a value of 1 without a maximum.
 */
static void
describe_unit(char *buffer, size_t size, CpmUnit unit, const CpmVerdict *verdict)
{
	bool		is_one = verdict->value == 1 && isnan(verdict->maximum);

	buffer[0] = '\0';
	if (!cpm_is_number(verdict->value) || unit == CPM_UNIT_SECONDS)
		return;
	snprintf(buffer, size, " %s", cpm_unit_name(unit));
	if (is_one && unit < CPM_UNIT_PER_SECOND)
		buffer[strlen(buffer) - 1] = '\0';
}

static void
describe_threshold(char *buffer, size_t size, const CpmMetric *metric, CpmStatus status,
				   const CpmVerdict *verdict)
{
	double		threshold = status == CPM_CRITICAL ? verdict->critical : verdict->warning;
	char		number[32];

	buffer[0] = '\0';
	if (status == CPM_OK || isnan(threshold))
		return;
	format_value(number, sizeof(number), threshold);
	snprintf(buffer, size, ", %s threshold %s%s", status == CPM_CRITICAL ? "critical" : "warning",
			 number, metric->low_is_bad ? " or less" : "");
}

void
cpm_describe(char *buffer, size_t size, CpmMetricId id, CpmStatus status,
			 const CpmVerdict *verdict)
{
	const CpmMetric *metric = &cpm_catalogue[id];
	char		value[32];
	char		maximum[32] = "";
	char		unit[32];
	char		threshold[64];

	if (!cpm_is_number(verdict->value))
		strlcpy(value, isinf(verdict->value) ? "not foreseeable" : "unknown", sizeof(value));
	else
		format_value(value, sizeof(value), verdict->value);
	if (!isnan(verdict->maximum))
		snprintf(maximum, sizeof(maximum), " of %.0f", verdict->maximum);
	describe_unit(unit, sizeof(unit), metric->unit, verdict);
	describe_threshold(threshold, sizeof(threshold), metric, status, verdict);

	snprintf(buffer, size, "%s is %s%s%s%s", metric->name, value, maximum, unit, threshold);
}

void
cpm_describe_former(char *buffer, size_t size, CpmStatus status, const CpmVerdict *verdict,
					double threshold)
{
	size_t		used = strlen(buffer);
	char		former[32];
	char		met[32];

	format_value(former, sizeof(former), verdict->former_value);
	format_value(met, sizeof(met), threshold);
	snprintf(buffer + used, size - used, " (still %s with the former settings: %s, threshold %s)",
			 cpm_status_name(status), former, met);
}
