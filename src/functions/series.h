/* SPDX-License-Identifier: PostgreSQL */
/*
 * series.h
 *		Reads past values of metrics from the samples or from a rollup of them.
 */
#ifndef CPM_SERIES_H
#define CPM_SERIES_H

#include "base/sample.h"
#include "base/wait_class.h"
#include "samples/rollups.h"

/* One metric over a span of time. Neither value is NaN. */
typedef struct CpmPoint
{
	CpmMetricId metric;
	TimestampTz at;				/* start of the span */
	int64		length_ms;
	double		mean;
	double		worst;
} CpmPoint;

typedef void (*CpmPointVisitor) (const CpmPoint *point, void *arg);

/* The load of the whole server over a span of time. */
typedef struct CpmLoadPoint
{
	TimestampTz at;				/* start of the span */
	int64		length_ms;
	double		sessions[CPM_WAIT_CLASSES]; /* average number of busy sessions */
} CpmLoadPoint;

typedef void (*CpmLoadPointVisitor) (const CpmLoadPoint *point, void *arg);

/*
 * Return the finest resolution whose rows are kept for long enough to reach back to since. Does
 * not check whether the server has been up for that long.
 */
extern CpmRollup cpm_series_rollup(TimestampTz since, TimestampTz now);

/*
 * Visit the points of one metric, or of all metrics if metric is -1, from "since" to "until", both
 * inclusive. A minute or hour that contains "since" has a point that starts before it. Omits
 * unknown values. For CPM_ROLLUP_SAMPLES, a sample_ms other than 0 omits samples that were taken
 * at another interval. Rounds values to thousandths, because they are stored in single precision.
 */
extern void cpm_series_scan(CpmRollup rollup, int metric, int sample_ms, TimestampTz since,
							TimestampTz until, CpmPointVisitor visit, void *arg);

/* Visit the points of the load of the whole server; arguments are those of cpm_series_scan(). */
extern void cpm_series_scan_load(CpmRollup rollup, int sample_ms, TimestampTz since,
								 TimestampTz until, CpmLoadPointVisitor visit, void *arg);

/* Return the metric with that name. Fails with 22023 if there is none, or if name is NULL. */
extern int	cpm_series_metric(const char *name);

#endif							/* CPM_SERIES_H */
