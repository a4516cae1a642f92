/* SPDX-License-Identifier: PostgreSQL */
/*
 * metric_settings.c
 *		The settings of metrics: thresholds and maxima.
 *
 * They are derived from the catalogue, so that each new metric gets its settings.
 */
#include "postgres.h"

#include <limits.h>

#include "base/metric_settings.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define PREFIX "connpool_monitor"
#define MAX_CONNECTIONS_LIMIT 262143	/* PostgreSQL's MAX_BACKENDS */
#define MAX_PERCENT 1000.0		/* above 100, because <metric>_max may be set too low */

/* A threshold in percent is a real setting, any other an integer setting. */
typedef struct ThresholdSetting
{
	double		percent;
	int			absolute;
} ThresholdSetting;

static const CpmMetric *metrics;
static ThresholdSetting warning_settings[CPM_METRICS];
static ThresholdSetting critical_settings[CPM_METRICS];
static int	maximum_settings[CPM_METRICS];

static bool
check_percent(double *newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (*newval >= 0 || *newval == -1)
		return true;
	GUC_check_errdetail("A threshold is a percentage from 0, or -1 to turn it off.");
	return false;
}

static bool
check_maximum(int *newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (*newval != 0)
		return true;
	GUC_check_errdetail("A maximum is at least 1, or -1 for the default.");
	return false;
}

int
cpm_settings_metric(const char *name)
{
	for (int i = 0; i < CPM_METRICS; i++)
		if (pg_strcasecmp(metrics[i].name, name) == 0)
			return i;
	return -1;
}

/* Copy a name or description of a setting to memory that is never freed. */
static const char *
keep(char *text)
{
	return MemoryContextStrdup(TopMemoryContext, text);
}

static void
define_threshold(const CpmMetric *metric, const char *level, double boot,
				 ThresholdSetting *setting)
{
	const char *name = keep(psprintf(PREFIX ".%s_%s", metric->name, level));
	const char *status = strcmp(level, "warning") == 0 ? "WARNING" : "CRITICAL";
	const char *short_desc = keep(psprintf("Sets when the status of %s becomes %s.",
										   metric->name, status));

	if (metric->is_percent)
	{
		const char *long_desc =
			keep(psprintf("Values at or above this percentage of the metric's maximum meet the "
						  "threshold. -1 turns it off. The metric: %s", metric->help));

		setting->percent = boot;
		DefineCustomRealVariable(name, short_desc, long_desc, &setting->percent, boot,
								 -1, MAX_PERCENT, PGC_SIGHUP, 0, check_percent, NULL, NULL);
	}
	else
	{
		int			time_unit = metric->unit == CPM_UNIT_SECONDS ? GUC_UNIT_S :
			metric->unit == CPM_UNIT_MILLISECONDS ? GUC_UNIT_MS : 0;
		const char *long_desc =
			keep(psprintf("Values at or %s the threshold meet it. -1 turns it off. The metric: %s",
						  metric->low_is_bad ? "below" : "above", metric->help));

		setting->absolute = (int) boot;
		DefineCustomIntVariable(name, short_desc, long_desc, &setting->absolute, (int) boot,
								-1, time_unit ? INT_MAX : MAX_CONNECTIONS_LIMIT, PGC_SIGHUP,
								time_unit, NULL, NULL, NULL);
	}
}

static void
define_maximum(const CpmMetric *metric, int *setting)
{
	const char *fallback = metric->maximum == CPM_MAX_USABLE ? "the usable slots" :
		metric->maximum == CPM_MAX_HALF_USABLE ? "half the usable slots" :
		psprintf("%d", metric->fixed_max);

	*setting = -1;
	DefineCustomIntVariable(keep(psprintf(PREFIX ".%s_max", metric->name)),
							keep(psprintf("Sets the maximum that %s is measured against.",
										  metric->name)),
							keep(psprintf("-1 is the default: %s.", fallback)),
							setting, -1, -1, MAX_CONNECTIONS_LIMIT, PGC_SIGHUP, 0,
							check_maximum, NULL, NULL);
}

void
cpm_metric_settings_define(const CpmMetric *catalogue)
{
	metrics = catalogue;
	for (int i = 0; i < CPM_METRICS; i++)
	{
		define_threshold(&metrics[i], "warning", metrics[i].warning, &warning_settings[i]);
		define_threshold(&metrics[i], "critical", metrics[i].critical, &critical_settings[i]);
		if (metrics[i].max_is_setting)
			define_maximum(&metrics[i], &maximum_settings[i]);
	}
}

CpmThresholds
cpm_settings_thresholds(CpmMetricId id)
{
	const CpmMetric *metric = &metrics[id];
	CpmThresholds thresholds;

	thresholds.warning = metric->is_percent ?
		warning_settings[id].percent : warning_settings[id].absolute;
	thresholds.critical = metric->is_percent ?
		critical_settings[id].percent : critical_settings[id].absolute;
	thresholds.maximum = metric->max_is_setting ? maximum_settings[id] : -1;
	return thresholds;
}
