/* SPDX-License-Identifier: PostgreSQL */
/*
 * series.h
 *		What metrics were, out of whichever tier of the history answers best.
 */
#ifndef CPM_SERIES_H
#define CPM_SERIES_H

#include "base/sample.h"
#include "samples/rollups.h"

/* One metric in one stretch of time; both values are numbers. */
typedef struct CpmPoint
{
	CpmMetricId metric;
	TimestampTz at;				/* the start */
	int64		length_ms;
	double		mean;
	double		worst;
} CpmPoint;

typedef void (*CpmPointVisitor) (const CpmPoint *point, void *arg);

/* The finest tier whose whole span covers since, whatever it holds. */
extern CpmRollup cpm_series_tier(TimestampTz since, TimestampTz now);

/*
 * Visit the points from since to until: of one metric, or of all (-1). Of samples,
 * those taken every so many milliseconds, or all (0). Values are rounded to what
 * single precision knows.
 */
extern void cpm_series_scan(CpmRollup tier, int metric, int sample_ms, TimestampTz since,
							TimestampTz until, CpmPointVisitor visit, void *arg);

/* The metric of that name; an error when there is none, or no name. */
extern int	cpm_series_metric(const char *name);

#endif							/* CPM_SERIES_H */
