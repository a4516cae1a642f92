/*
 * settings.h
 *		All settings of connpool_monitor, as the rest of the code reads them.
 *
 * Read by every process; written by PostgreSQL's configuration code only. Bare
 * numbers of milliseconds end in _ms.
 */
#ifndef CPM_SETTINGS_H
#define CPM_SETTINGS_H

#include "base/internal.h"
#include "base/metric.h"
#include "base/session.h"

/* What every statement looks at, in one line of the cache. */
typedef struct CpmStatementSettings
{
	int64		slow_us;		/* slow_statement_time */
	bool		track_queries;
} CpmStatementSettings;

extern CPM_INTERNAL CpmStatementSettings cpm_statement_settings;

extern int	cpm_max_pools;
extern int	cpm_slow_statements_kept;
extern int	cpm_sample_interval_ms;
extern int	cpm_slow_query_mean_time_ms;
extern int	cpm_alert_after_ms;
extern int	cpm_alert_clear_after_ms;
extern int	cpm_alert_repeat_ms;
extern int	cpm_save_interval_ms;
extern int	cpm_notify_rate;
extern char *cpm_notify_database;

/* One metric's thresholds as set; -1 is off, and for max the default. */
typedef struct CpmThresholds
{
	double		warning;
	double		critical;
	double		maximum;
} CpmThresholds;

/*
 * Define every setting. The catalogue gives the settings that exist once for
 * each metric; it is kept. Call once, from _PG_init().
 */
extern void cpm_settings_define(const CpmMetric *catalogue);

/* The ages that metrics count from, as this process has them set now. */
extern CpmAges cpm_settings_ages(void);

extern CpmThresholds cpm_settings_thresholds(CpmMetricId id);

/* Is the metric in silent_metrics? */
extern bool cpm_settings_is_silent(CpmMetricId id);

/* Is the application in exempt_applications? Called for every sampled session. */
extern bool cpm_settings_is_exempt(const char *application_name);

#endif							/* CPM_SETTINGS_H */
