/* SPDX-License-Identifier: PostgreSQL */
/*
 * metric_settings.h
 *		The settings of metrics: thresholds and maxima.
 */
#ifndef CPM_METRIC_SETTINGS_H
#define CPM_METRIC_SETTINGS_H

#include "base/metric.h"

/* The settings of one metric. */
typedef struct CpmThresholds
{
	double		warning;		/* -1: off */
	double		critical;		/* -1: off */
	double		maximum;		/* -1: the default */
} CpmThresholds;

/*
 * Define the thresholds and maxima of each metric in the catalogue, and keep a pointer to the
 * catalogue. Called once.
 */
extern void cpm_metric_settings_define(const CpmMetric *catalogue);

/* Return the settings of one metric. */
extern CpmThresholds cpm_settings_thresholds(CpmMetricId id);

/* Return the CpmMetricId of the metric with that name, in any case; -1 if there is none. */
extern int	cpm_settings_metric(const char *name);

#endif							/* CPM_METRIC_SETTINGS_H */
