/* SPDX-License-Identifier: PostgreSQL */
/*
 * metric.h
 *		The types of the metric catalogue, and the list of metrics.
 *
 * The list is here because samples, history and settings are arrays indexed by CpmMetricId. The
 * name, maximum, thresholds and help of each metric are defined once, in rules/catalogue.c.
 */
#ifndef CPM_METRIC_H
#define CPM_METRIC_H

/* The order is that of every listing: get_connection_stats(), settings, /metrics. */
typedef enum CpmMetricId
{
	CPM_ACTIVE_CONNECTIONS,
	CPM_IDLE_CONNECTIONS,
	CPM_LONG_TRANSACTIONS,
	CPM_TOTAL_CONNECTIONS,
	CPM_IDLE_IN_TRANSACTION,
	CPM_LEAK_SUSPECTS,
	CPM_BLOCKED_SESSIONS,
	CPM_OLDEST_TRANSACTION_SECONDS,
	CPM_LONG_QUERIES,
	CPM_SLOW_STATEMENTS,
	CPM_REJECTED_CONNECTIONS,
	CPM_CONNECTIONS_PER_SECOND,
	CPM_FAILED_QUERY_PERCENT,
	CPM_AVERAGE_QUERY_TIME_MS,
	CPM_EXHAUSTION_SECONDS,
	CPM_POOL_WAITING_CLIENTS,
	CPM_DIRECT_CONNECTIONS
} CpmMetricId;

#define CPM_METRICS (CPM_DIRECT_CONNECTIONS + 1)

typedef enum CpmStatus
{
	CPM_OK,
	CPM_WARNING,
	CPM_CRITICAL
} CpmStatus;

typedef enum CpmUnit
{
	CPM_UNIT_CONNECTIONS,
	CPM_UNIT_TRANSACTIONS,
	CPM_UNIT_SESSIONS,
	CPM_UNIT_STATEMENTS,
	CPM_UNIT_REFUSALS,
	CPM_UNIT_CLIENTS,
	CPM_UNIT_PER_SECOND,
	CPM_UNIT_PERCENT,
	CPM_UNIT_MILLISECONDS,
	CPM_UNIT_SECONDS
} CpmUnit;

/* The default maximum of a metric. A setting <metric>_max, if the metric has one, overrides it. */
typedef enum CpmMaximum
{
	CPM_MAX_NONE,
	CPM_MAX_USABLE,				/* CpmSample.usable_slots */
	CPM_MAX_HALF_USABLE,
	CPM_MAX_FIXED				/* CpmMetric.fixed_max */
} CpmMaximum;

/*
 * Data sources, as bits in CpmSample.sources. A metric is unknown while a source that it needs is
 * missing.
 */
#define CPM_SOURCE_LIVE		(1 << 0)	/* PostgreSQL's own shared memory */
#define CPM_SOURCE_HISTORY	(1 << 1)	/* our sampler, if the library is preloaded */
#define CPM_SOURCE_COUNTERS (1 << 2)	/* our hooks, if the library is preloaded */
#define CPM_SOURCE_POOLERS	(1 << 3)	/* at least one PgBouncer console is configured */

typedef struct CpmMetric
{
	const char *name;
	const char *help;			/* one sentence, shown with the settings and in /metrics */
	const char *hint;			/* the HINT of its alert's message: what to do */
	CpmUnit		unit;
	int			source;			/* the CPM_SOURCE_... bits it needs */
	CpmMaximum	maximum;
	int			fixed_max;		/* used with CPM_MAX_FIXED only */
	bool		max_is_setting; /* a setting <metric>_max exists */
	bool		is_percent;		/* thresholds are percentages of the maximum */
	bool		low_is_bad;		/* values at or below a threshold meet it; otherwise values at or
								 * above it do */
	bool		is_immediate;	/* the alert does not wait for alert_after */
	double		warning;		/* default thresholds; -1: off */
	double		critical;
} CpmMetric;

#endif							/* CPM_METRIC_H */
