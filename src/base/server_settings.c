/* SPDX-License-Identifier: PostgreSQL */
/*
 * server_settings.c
 *		The server's values of settings that a role, a database or a session may override.
 *
 * A backend cannot find the server's value of such a setting: its own variable and pg_settings,
 * including reset_val, have the value of ALTER ROLE or ALTER DATABASE. The sampler is connected to
 * no database and as no role, so it has the server's values, and publishes them in shared memory.
 * Until it starts, the values are those that the postmaster had at the server's start.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/server_settings.h"
#include "base/settings.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "utils/guc.h"

typedef struct ServerSettings
{
	/* by CpmServerSetting; the sampler writes, and the postmaster at the server's start */
	pg_atomic_uint32 value[CPM_SERVER_SETTINGS];
} ServerSettings;

static ServerSettings *server_settings;

static const char *const setting_names[CPM_SERVER_SETTINGS] = {
	[CPM_SERVER_LOG_MIN_MESSAGES] = "log_min_messages",
	[CPM_SERVER_TRACK_QUERIES] = "connpool_monitor.track_queries",
	[CPM_SERVER_SLOW_STATEMENT_TIME] = "connpool_monitor.slow_statement_time",
	[CPM_SERVER_STATEMENT_TIMEOUT] = "statement_timeout",
	[CPM_SERVER_LOCK_TIMEOUT] = "lock_timeout",
	[CPM_SERVER_IDLE_IN_TRANSACTION_SESSION_TIMEOUT] = "idle_in_transaction_session_timeout",
	[CPM_SERVER_IDLE_SESSION_TIMEOUT] = "idle_session_timeout",
	[CPM_SERVER_TCP_KEEPALIVES_IDLE] = "tcp_keepalives_idle",
};

/* Return the value of the setting in this process. */
static int
own_value(CpmServerSetting id)
{
	switch (id)
	{
		case CPM_SERVER_LOG_MIN_MESSAGES:
			return cpm_log_min_messages();
		case CPM_SERVER_TRACK_QUERIES:
			return cpm_statement_settings.track_queries;
		case CPM_SERVER_SLOW_STATEMENT_TIME:
			return (int) (cpm_statement_settings.slow_us / 1000);
		case CPM_SERVER_STATEMENT_TIMEOUT:
			return StatementTimeout;
		case CPM_SERVER_LOCK_TIMEOUT:
			return LockTimeout;
		case CPM_SERVER_IDLE_IN_TRANSACTION_SESSION_TIMEOUT:
			return IdleInTransactionSessionTimeout;
		case CPM_SERVER_IDLE_SESSION_TIMEOUT:
			return IdleSessionTimeout;
		case CPM_SERVER_TCP_KEEPALIVES_IDLE:
			return tcp_keepalives_idle;
		case CPM_SERVER_SETTINGS:
			break;
	}
	return 0;
}

Size
cpm_server_settings_size(void)
{
	return sizeof(ServerSettings);
}

void
cpm_server_settings_attach(void *memory, bool is_new)
{
	server_settings = memory;
	if (!is_new)
		return;
	for (int i = 0; i < CPM_SERVER_SETTINGS; i++)
		pg_atomic_init_u32(&server_settings->value[i], (uint32) own_value(i));
}

void
cpm_server_settings_publish(void)
{
	for (int i = 0; i < CPM_SERVER_SETTINGS; i++)
		pg_atomic_write_u32(&server_settings->value[i], (uint32) own_value(i));
}

int
cpm_server_setting(CpmServerSetting id)
{
	return server_settings == NULL ? own_value(id) :
		(int) pg_atomic_read_u32(&server_settings->value[id]);
}

CpmServerSetting
cpm_server_setting_named(const char *name)
{
	int			id = 0;

	while (id < CPM_SERVER_SETTINGS && strcmp(setting_names[id], name) != 0)
		id++;
	return id;
}
