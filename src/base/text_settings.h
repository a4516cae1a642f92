/* SPDX-License-Identifier: PostgreSQL */
/*
 * text_settings.h
 *		The settings that are text.
 */
#ifndef CPM_TEXT_SETTINGS_H
#define CPM_TEXT_SETTINGS_H

#include "base/listen.h"
#include "base/metric.h"
#include "base/pooler_list.h"
#include "utils/guc.h"

extern char *cpm_notify_database;
extern char *cpm_http_token_file;

/*
 * Define the settings. "startup" is the context of settings that need a restart: PGC_POSTMASTER,
 * or PGC_SIGHUP in a session that loads the library itself. Called once, after
 * cpm_metric_settings_define().
 */
extern void cpm_text_settings_define(GucContext startup);

/* Return true if silent_metrics contains the metric. */
extern bool cpm_settings_is_silent(CpmMetricId id);

/*
 * Return true if exempt_applications contains the application, for any role. The scan of backends
 * calls this for every session, before the expensive cpm_settings_is_exempt().
 */
extern bool cpm_settings_exempts_application(const char *application_name);

/*
 * Return true if exempt_applications exempts this application for this role. An entry without a
 * role applies only if is_trusted: the role is a superuser or has the privileges of
 * pg_read_all_data. role may be NULL; then only entries without a role can match.
 */
extern bool cpm_settings_is_exempt(const char *application_name, const char *role,
								   bool is_trusted);

/* Return the consoles of PgBouncer; an empty list before the settings are defined. */
extern const CpmPoolerList *cpm_settings_poolers(void);

/* Return the address of the HTTP listener; its host is empty if HTTP is off. */
extern const CpmListen *cpm_settings_http_listen(void);

#endif							/* CPM_TEXT_SETTINGS_H */
