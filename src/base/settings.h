/* SPDX-License-Identifier: PostgreSQL */
/*
 * settings.h
 *		The settings of connpool_monitor.
 *
 * Every process has its own copy, which only PostgreSQL's configuration code writes.
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

/* The settings that every statement reads, in one cache line. */
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
extern int	cpm_session_history_size_mb;
extern int	cpm_notify_rate;
extern char *cpm_notify_database;
extern int	cpm_pgbouncer_interval_ms;
extern char *cpm_http_token_file;

/* The settings of one metric. */
typedef struct CpmThresholds
{
	double		warning;		/* -1: off */
	double		critical;		/* -1: off */
	double		maximum;		/* -1: the default */
} CpmThresholds;

/*
 * Define every setting. The catalogue determines the settings that each metric has; the pointer
 * is kept. Called once, by _PG_init().
 */
extern void cpm_settings_define(const CpmMetric *catalogue);

/* Return the ages beyond which metrics count a session or transaction. */
extern CpmAges cpm_settings_ages(void);

/* Return the settings of one metric. */
extern CpmThresholds cpm_settings_thresholds(CpmMetricId id);

/* Return the pool policy that applies to this session. */
extern CpmPolicy cpm_settings_policy(void);

/* Set the function that the assign hooks call after the policy changes. It must not fail. */
extern void cpm_settings_on_policy_change(void (*changed) (void));

/* Set the function to call before application_grouping changes. It must not fail either. */
extern void cpm_settings_on_grouping_change(void (*changed) (void));

/* Return the consoles of PgBouncer; an empty list before the settings are defined. */
extern const CpmPoolerList *cpm_settings_poolers(void);

/* Return the address of the HTTP listener; its host is empty if HTTP is off. */
extern const CpmListen *cpm_settings_http_listen(void);

/* Return true if silent_metrics contains the metric. */
extern bool cpm_settings_is_silent(CpmMetricId id);

/*
 * Return true if exempt_applications contains the application, for any role. The scan of backends
 * calls this for every session, before the expensive cpm_settings_is_exempt().
 */
extern bool cpm_settings_exempts_application(const char *application_name);

/*
 * Return true if exempt_applications exempts this application for this role. An entry without a
 * role applies only if is_trusted: the role is a superuser or a member of pg_read_all_data.
 * role may be NULL; then only entries without a role can match.
 */
extern bool cpm_settings_is_exempt(const char *application_name, const char *role,
								   bool is_trusted);

/* Return how long an exemption lasts, in microseconds. */
extern int64 cpm_settings_exempt_limit_us(void);

#endif							/* CPM_SETTINGS_H */
