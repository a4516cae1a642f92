/* SPDX-License-Identifier: PostgreSQL */
/*
 * metric.h
 *		The types of the metric catalogue: what a metric is, and the list of them.
 *
 * The list is here because samples, history and settings are arrays over it;
 * what each metric means (name, maximum, thresholds, help) is said once, in
 * rules/catalogue.c.
 */
#ifndef CPM_METRIC_H
#define CPM_METRIC_H

/* In the order of the contract, which is the order of every listing. */
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

/* Where the maximum of a metric comes from, when no setting overrides it. */
typedef enum CpmMaximum
{
	CPM_MAX_NONE,
	CPM_MAX_USABLE,				/* usable slots */
	CPM_MAX_HALF_USABLE,
	CPM_MAX_FIXED				/* CpmMetric.fixed_max */
} CpmMaximum;

/* What must exist for a metric to be known at all; bits of CpmSample.sources. */
#define CPM_SOURCE_LIVE		(1 << 0)	/* PostgreSQL's own shared memory */
#define CPM_SOURCE_HISTORY	(1 << 1)	/* our sampler: the library is preloaded */
#define CPM_SOURCE_COUNTERS (1 << 2)	/* our hooks: the same */
#define CPM_SOURCE_POOLERS	(1 << 3)	/* a PgBouncer that is asked */

typedef struct CpmMetric
{
	const char *name;
	const char *help;			/* one sentence, for settings and exposition */
	const char *hint;			/* what to do, for the warning's HINT */
	CpmUnit		unit;
	int			source;			/* CPM_SOURCE_… bits it needs */
	CpmMaximum	maximum;
	int			fixed_max;		/* with CPM_MAX_FIXED */
	bool		max_is_setting; /* has a setting <metric>_max */
	bool		is_percent;		/* thresholds are percent of the maximum */
	bool		low_is_bad;		/* met at or below the threshold */
	bool		at_once;		/* raised without waiting for alert_after */
	double		warning;		/* default thresholds; -1 is off */
	double		critical;
} CpmMetric;

#endif							/* CPM_METRIC_H */
