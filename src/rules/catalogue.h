/* SPDX-License-Identifier: PostgreSQL */
/*
 * catalogue.h
 *		The metric catalogue, and the verdict on one metric of a sample.
 */
#ifndef CPM_CATALOGUE_H
#define CPM_CATALOGUE_H

#include "base/sample.h"
#include "base/settings.h"

/* By CpmMetricId; CPM_METRICS entries. */
extern const CpmMetric cpm_catalogue[CPM_METRICS];

typedef struct CpmVerdict
{
	CpmStatus	status;
	double		value;			/* NaN unknown, infinity not in sight */
	double		maximum;		/* NaN when the metric has none */
	double		warning;		/* thresholds in the metric's unit; NaN when off */
	double		critical;
} CpmVerdict;

/* Do these CPM_SOURCE_… bits hold what the metric is made of? */
extern bool cpm_metric_exists(const CpmMetric *metric, int sources);

/*
 * Judge the exact value of a metric. Pure; a value that is no number is OK.
 * Percentages are of the maximum as it is shown, rounded down.
 */
extern CpmVerdict cpm_evaluate_metric(CpmMetricId id, const CpmSample *sample, CpmThresholds thresholds);

/* OK, WARNING, CRITICAL */
extern const char *cpm_status_name(CpmStatus status);

/* connections, seconds, … */
extern const char *cpm_unit_name(CpmUnit unit);

/* The metric of that name, or -1. */
extern int	cpm_metric_by_name(const char *name);

/*
 * Write what is the matter: metric, value and threshold, in one line without a
 * full stop. For the log, the alert tables and notifications.
 */
extern void cpm_describe(char *buffer, size_t size, CpmMetricId id, CpmStatus status,
						 const CpmVerdict *verdict);

#endif							/* CPM_CATALOGUE_H */
