/* SPDX-License-Identifier: PostgreSQL */
/*
 * metric_settings.h
 *		The settings of metrics: thresholds, maxima and silent_metrics.
 */
#ifndef CPM_METRIC_SETTINGS_H
#define CPM_METRIC_SETTINGS_H

#include "base/metric.h"
#include "utils/guc.h"

/* The settings of one metric. */
typedef struct CpmThresholds
{
	double		warning;		/* -1: off */
	double		critical;		/* -1: off */
	double		maximum;		/* -1: the default */
} CpmThresholds;

/*
 * Define the thresholds and maxima of each metric in the catalogue, whose pointer is kept. Called
 * once, before silent_metrics is defined, whose check hook needs the names of the metrics.
 */
extern void cpm_metric_settings_define(const CpmMetric *catalogue);

/* The hooks of silent_metrics. */
extern bool cpm_check_silent_metrics(char **newval, void **extra, GucSource source);
extern void cpm_assign_silent_metrics(const char *newval, void *extra);

/* Return the settings of one metric. */
extern CpmThresholds cpm_settings_thresholds(CpmMetricId id);

/* Return true if silent_metrics contains the metric. */
extern bool cpm_settings_is_silent(CpmMetricId id);

#endif							/* CPM_METRIC_SETTINGS_H */
