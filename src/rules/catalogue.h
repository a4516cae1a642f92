/* SPDX-License-Identifier: PostgreSQL */
/*
 * catalogue.h
 *		The metric catalogue, and the evaluation of a metric in a sample.
 */
#ifndef CPM_CATALOGUE_H
#define CPM_CATALOGUE_H

#include "base/sample.h"
#include "base/metric_settings.h"

/* The definition of each metric, by CpmMetricId. */
extern const CpmMetric cpm_catalogue[CPM_METRICS];

typedef struct CpmVerdict
{
	CpmStatus	status;
	double		value;			/* NaN if unknown; infinity as in CpmSample */
	double		former_value;	/* with the former settings; see CpmSample.uncounted */
	double		maximum;		/* NaN if the metric has none */
	double		warning;		/* thresholds in the metric's unit; NaN if off */
	double		critical;
} CpmVerdict;

/* Return true if the CPM_SOURCE_… bits include all sources that the metric needs. */
extern bool cpm_metric_is_available(const CpmMetric *metric, int sources);

/*
 * Compare the value of a metric with its thresholds. NaN and infinity are OK. Thresholds in
 * percent refer to the maximum as views show it, rounded down. Pure.
 */
extern CpmVerdict cpm_evaluate_metric(CpmMetricId id, const CpmSample *sample,
									  CpmThresholds thresholds);

/* Return true if the value of the metric meets a threshold; false if either is not a number. */
extern bool cpm_meets_threshold(const CpmMetric *metric, double value, double threshold);

/* Return "OK", "WARNING" or "CRITICAL". */
extern const char *cpm_status_name(CpmStatus status);

/* Return the unit's name in the plural, such as "connections". */
extern const char *cpm_unit_name(CpmUnit unit);

/* Return the CpmMetricId of the metric with that name; -1 if there is none. */
extern int	cpm_metric_by_name(const char *name);

/*
 * Write the message of an alert: metric, value and the threshold of that status, in one line
 * without a full stop. The log, the alert views and notifications show it. Pure.
 */
extern void cpm_describe(char *buffer, size_t size, CpmMetricId id, CpmStatus status,
						 const CpmVerdict *verdict);

/*
 * Append to a message of cpm_describe() that the metric would still have that status with the
 * former settings. Includes its value with these settings, and the threshold. Pure.
 */
extern void cpm_describe_former(char *buffer, size_t size, CpmStatus status,
								const CpmVerdict *verdict, double threshold);

#endif							/* CPM_CATALOGUE_H */
