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
#include "base/metric.h"
#include "base/policy.h"
#include "base/pool.h"
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
extern int	cpm_pgbouncer_interval_ms;

/*
 * Define every setting. Derives the settings of metrics from the catalogue, and keeps a pointer to
 * the catalogue. Called once, by _PG_init().
 */
extern void cpm_settings_define(const CpmMetric *catalogue);

/* Return the ages beyond which metrics count a session or transaction. */
extern CpmAges cpm_settings_ages(void);

/* Return the pool policy that applies to this session. */
extern CpmPolicy cpm_settings_policy(void);

/* Set the function to call after the policy has changed. It must not raise an error. */
extern void cpm_settings_on_policy_change(void (*changed) (void));

/* Set the function to call before application_grouping changes. It must not raise an error. */
extern void cpm_settings_on_grouping_change(void (*changed) (void));

/* Return how long an exemption lasts, in microseconds. */
extern int64 cpm_settings_exempt_limit_us(void);

#endif							/* CPM_SETTINGS_H */
