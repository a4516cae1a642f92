/* SPDX-License-Identifier: PostgreSQL */
/*
 * settings.h
 *		All settings of connpool_monitor, as the rest of the code reads them.
 *
 * Read by every process; written by PostgreSQL's configuration code only. Bare
 * numbers of milliseconds end in _ms.
 */
#ifndef CPM_SETTINGS_H
#define CPM_SETTINGS_H

#include "base/attributes.h"
#include "base/listen.h"
#include "base/metric.h"
#include "base/policy.h"
#include "base/pool.h"
#include "base/pooler_list.h"
#include "base/session.h"

/* What every statement looks at, in one line of the cache. */
typedef struct CpmStatementSettings
{
	int64		slow_us;		/* slow_statement_time */
	bool		track_queries;
} CpmStatementSettings;

extern CPM_INTERNAL CpmStatementSettings cpm_statement_settings;

extern int	cpm_max_pools;
extern int	cpm_application_grouping;	/* a CpmGrouping */
extern int	cpm_slow_statements_kept;
extern bool cpm_slow_statement_text;
extern int	cpm_sample_interval_ms;
extern int	cpm_slow_query_mean_time_ms;
extern int	cpm_alert_after_ms;
extern int	cpm_alert_clear_after_ms;
extern int	cpm_alert_repeat_ms;
extern int	cpm_save_interval_ms;
extern int	cpm_notify_rate;
extern char *cpm_notify_database;
extern int	cpm_pgbouncer_interval_ms;
extern char *cpm_http_token_file;

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

/* The pool policy as it is set for this session now. */
extern CpmPolicy cpm_settings_policy(void);

/* Have a function called whenever that has changed, from within PostgreSQL's configuration code. */
extern void cpm_settings_on_policy_change(void (*changed) (void));

/* Have a function, which must not raise, called just before application_grouping is set. */
extern void cpm_settings_on_grouping_change(void (*changed) (void));

/* The consoles of PgBouncer; none when the library is not preloaded. */
extern const CpmPoolerList *cpm_settings_poolers(void);

/* Where to serve HTTP; nowhere when its host is empty. */
extern const CpmListen *cpm_settings_http_listen(void);

/* Is the metric in silent_metrics? */
extern bool cpm_settings_is_silent(CpmMetricId id);

/* Return true if exempt_applications names the application, for any role. Called for every session. */
extern bool cpm_settings_exempts_application(const char *application_name);

/*
 * Return true if exempt_applications exempts this application for this role. An entry without a
 * role applies only if is_trusted: the role is a superuser or a member of pg_read_all_data.
 * role may be NULL; then only entries without a role can match.
 */
extern bool cpm_settings_is_exempt(const char *application_name, const char *role, bool is_trusted);

/* Return how long an exemption lasts, in microseconds. */
extern int64 cpm_settings_exempt_limit_us(void);

#endif							/* CPM_SETTINGS_H */
