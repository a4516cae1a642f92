/* SPDX-License-Identifier: PostgreSQL */
/*
 * server_settings.h
 *		The server's values of settings that a role, a database or a session may override.
 */
#ifndef CPM_SERVER_SETTINGS_H
#define CPM_SERVER_SETTINGS_H

#include "postgres_ext.h"

typedef enum CpmServerSetting
{
	CPM_SERVER_LOG_MIN_MESSAGES,	/* as cpm_log_min_messages() returns it */
	CPM_SERVER_TRACK_QUERIES,	/* 1: on */
	CPM_SERVER_SLOW_STATEMENT_TIME, /* in milliseconds, like the next four */
	CPM_SERVER_STATEMENT_TIMEOUT,
	CPM_SERVER_LOCK_TIMEOUT,
	CPM_SERVER_IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
	CPM_SERVER_IDLE_SESSION_TIMEOUT,
	CPM_SERVER_TCP_KEEPALIVES_IDLE, /* in seconds; 0: the operating system's */
	CPM_SERVER_SETTINGS
} CpmServerSetting;

extern Size cpm_server_settings_size(void);
extern void cpm_server_settings_attach(void *memory, bool is_new);

/*
 * Publish this process's values. The sampler calls it at its start and after each reload; cannot
 * fail.
 */
extern void cpm_server_settings_publish(void);

/*
 * Return the server's value; without the extension's shared memory, that of this process. Any
 * process; takes no lock.
 */
extern int	cpm_server_setting(CpmServerSetting id);

/* Return the setting with that name; CPM_SERVER_SETTINGS if its value is not published. */
extern CpmServerSetting cpm_server_setting_named(const char *name);

#endif							/* CPM_SERVER_SETTINGS_H */
