/* SPDX-License-Identifier: PostgreSQL */
/*
 * settings.c
 *		Defines the settings of connpool_monitor.
 *
 * metric_settings.c defines the settings of metrics, and text_settings.c those that are text.
 *
 * If a session loads the library without shared_preload_libraries, PostgreSQL does not allow it to
 * define PGC_POSTMASTER settings. They have no effect in such a session, but the configuration
 * file may contain them, so they are defined as PGC_SIGHUP there.
 */
#include "postgres.h"

#include <limits.h>

#include "base/metric_settings.h"
#include "base/settings.h"
#include "base/text_settings.h"
#include "miscadmin.h"
#include "utils/guc.h"

#define PREFIX "connpool_monitor"
#define MAX_CONNECTIONS_LIMIT 262143	/* PostgreSQL's MAX_BACKENDS */
#define MAX_SESSION_HISTORY_MB (16 * 1024)

CpmStatementSettings cpm_statement_settings CPM_HOT_DATA = {.track_queries = true};
int			cpm_max_pools = 256;
int			cpm_application_grouping = CPM_GROUPING_HOST;
int			cpm_slow_statements_kept = 1000;
bool		cpm_slow_statement_text = true;
int			cpm_sample_interval_ms = 1000;
int			cpm_slow_query_mean_time_ms = 1000;
int			cpm_alert_after_ms = 30 * 1000;
int			cpm_alert_clear_after_ms = 60 * 1000;
int			cpm_alert_repeat_ms = 15 * 60 * 1000;
int			cpm_save_interval_ms = 60 * 1000;
int			cpm_session_history_size_mb = 64;
int			cpm_notify_rate = 10;
int			cpm_pgbouncer_interval_ms = 5 * 1000;

static int	slow_statement_time_ms = 5 * 1000;
static int	long_transaction_age_ms = 30 * 1000;
static int	leak_age_ms = 60 * 1000;
static int	leak_idle_age_ms = 30 * 60 * 1000;
static int	blocked_age_ms = 5 * 1000;
static int	exempt_limit_ms = 24 * 60 * 60 * 1000;

/*
 * PostgreSQL stores a new limit in limit_settings[] only after it has called the assign hook. The
 * hook therefore keeps the new value in policy, where policy_changed() can read it.
 */
static int	limit_settings[CPM_LIMITS];
static CpmPolicy policy;
static void (*policy_changed) (void);

static void (*grouping_changed) (void);
static const struct config_enum_entry groupings[] = {
	{"off", CPM_GROUPING_OFF, false},
	{"host", CPM_GROUPING_HOST, false},
	{"numbers", CPM_GROUPING_NUMBERS, false},
	{NULL, 0, false}
};

static void
assign_slow_statement_time(int newval, void *extra)
{
	(void) extra;
	cpm_statement_settings.slow_us = newval * INT64CONST(1000);
}

static void
assign_limit(CpmLimit id, int newval)
{
	policy.limit[id] = newval;
	if (policy_changed)
		policy_changed();
}

static void
assign_application_grouping(int newval, void *extra)
{
	(void) newval;
	(void) extra;
	if (grouping_changed)
		grouping_changed();
}

/* An assign hook is not passed the setting that changes, so each limit needs its own hook. */
#define ASSIGN_LIMIT(name, id) \
static void \
name(int newval, void *extra) \
{ \
	(void) extra; \
	assign_limit(id, newval); \
}

ASSIGN_LIMIT(assign_pool_max, CPM_POOL_MAX)
ASSIGN_LIMIT(assign_pool_min, CPM_POOL_MIN)
ASSIGN_LIMIT(assign_pool_idle_timeout, CPM_POOL_IDLE_TIMEOUT)
ASSIGN_LIMIT(assign_pool_max_lifetime, CPM_POOL_MAX_LIFETIME)
ASSIGN_LIMIT(assign_pool_max_uses, CPM_POOL_MAX_USES)
ASSIGN_LIMIT(assign_pool_connection_timeout, CPM_POOL_CONNECTION_TIMEOUT)

/*
 * A row of the table below. The initial value of the variable is the default. If context is
 * PGC_POSTMASTER, cpm_settings_define() uses startup_context() instead.
 */
typedef struct IntegerSetting
{
	const char *name;
	const char *short_desc;
	const char *long_desc;
	int		   *variable;
	int			min;
	int			max;
	int			unit;			/* a GUC_UNIT_…; 0: none */
	GucContext	context;
	GucIntAssignHook assign;
} IntegerSetting;

#define LIMIT_DESC \
	"Violations of this limit are reported, but it is never enforced. " \
	"Set it for a role or a database; 0 means no limit."

static const IntegerSetting integers[] = {
	{PREFIX ".slow_statement_time",
		"Sets how long a statement may run before it is slow.",
		"Statements that run longer are counted in long_queries and slow_statements, and listed "
		"in connpool_running_queries and connpool_slow_statements.",
		&slow_statement_time_ms, 1, INT_MAX, GUC_UNIT_MS, PGC_SUSET, assign_slow_statement_time
	},
	{PREFIX ".slow_query_mean_time",
		"Sets the mean time above which slow_queries lists a statement of pg_stat_statements.",
		NULL, &cpm_slow_query_mean_time_ms, 0, INT_MAX, GUC_UNIT_MS, PGC_USERSET, NULL
	},
	{PREFIX ".long_transaction_age",
		"Sets how long a transaction may be open before it counts as long.",
		"The age is measured from the start of the transaction, whether it is idle or active.",
		&long_transaction_age_ms, 1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".leak_age",
		"Sets how long a transaction may be idle, wait for its client or stay prepared before "
		"it is a leak suspect.",
		"The age of a session is measured from its last change of state, or from the start of "
		"its wait for the client.",
		&leak_age_ms, 1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".leak_idle_age",
		"Sets how long a session may be idle, while its pool opens newer ones, before "
		"connpool_leaks lists it.",
		NULL, &leak_idle_age_ms, 1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".blocked_age",
		"Sets how long a session may wait for a heavyweight lock before it counts as blocked.",
		NULL, &blocked_age_ms, 1, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".max_pools",
		"Sets the maximum number of pools that are counted separately.",
		"A pool is the sessions of one application (see application_grouping), role and "
		"database. Beyond the maximum, a new pool replaces an unused pool of the role that holds "
		"the most pools. The counters of the replaced pool are added to the pool \"(other)\".",
		&cpm_max_pools, 1, 65535, 0, PGC_POSTMASTER, NULL
	},
	{PREFIX ".slow_statements_kept",
		"Sets how many of the latest slow statements are kept.",
		"0 keeps none. Slow statements are counted nevertheless.",
		&cpm_slow_statements_kept, 0, 1000000, 0, PGC_POSTMASTER, NULL
	},
	{PREFIX ".sample_interval",
		"Sets the interval between samples.",
		"The history holds the last 3660 samples, which is an hour at an interval of one second. "
		"It also holds aggregates by minute for a week and by hour for a year.",
		&cpm_sample_interval_ms, 100, 60 * 1000, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".save_interval",
		"Sets how often counters, history and alerts are saved to a file in the data directory.",
		"A crash of the server loses the data since the last save; a shutdown loses none.",
		&cpm_save_interval_ms, 1000, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".session_history_size",
		"Sets the maximum size of the file with the session history.",
		"The oldest samples are overwritten. 0 turns the session history off.",
		&cpm_session_history_size_mb, 0, MAX_SESSION_HISTORY_MB, GUC_UNIT_MB, PGC_POSTMASTER, NULL
	},
	{PREFIX ".exempt_limit",
		"Sets how long a session of an exempt application is exempt.",
		"The time is measured from the start of its transaction or, outside a transaction, from "
		"its last change of state.",
		&exempt_limit_ms, 1000, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".alert_after",
		"Sets how long a threshold must be met before its alert is raised.",
		NULL, &cpm_alert_after_ms, 0, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".alert_clear_after",
		"Sets how long a threshold must not be met before its alert is cleared.",
		NULL, &cpm_alert_clear_after_ms, 0, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".alert_repeat",
		"Sets the interval after which an alert that is still raised is logged again.",
		"0 turns repetition off.",
		&cpm_alert_repeat_ms, 0, INT_MAX, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".notify_rate",
		"Sets the maximum number of alert transitions sent by NOTIFY per second.",
		"Further transitions are not sent; connpool_info() counts them.",
		&cpm_notify_rate, 1, 1000, 0, PGC_SIGHUP, NULL
	},
	{PREFIX ".pgbouncer_interval",
		"Sets how often each console of PgBouncer is queried.",
		"A console is reported as down if it does not answer within this time, but not before "
		"1 s and not later than 10 s.",
		&cpm_pgbouncer_interval_ms, 10, 60 * 60 * 1000, GUC_UNIT_MS, PGC_SIGHUP, NULL
	},
	{PREFIX ".pool_max",
		"Sets the maximum number of connections that the role should have in the database.",
		LIMIT_DESC, &limit_settings[CPM_POOL_MAX], 0, MAX_CONNECTIONS_LIMIT, 0, PGC_SUSET,
		assign_pool_max
	},
	{PREFIX ".pool_min",
		"Sets the minimum number of connections that the role should have in the database.",
		LIMIT_DESC, &limit_settings[CPM_POOL_MIN], 0, MAX_CONNECTIONS_LIMIT, 0, PGC_SUSET,
		assign_pool_min
	},
	{PREFIX ".pool_idle_timeout",
		"Sets the maximum time for which a session should be idle.",
		LIMIT_DESC, &limit_settings[CPM_POOL_IDLE_TIMEOUT], 0, INT_MAX, GUC_UNIT_MS, PGC_SUSET,
		assign_pool_idle_timeout
	},
	{PREFIX ".pool_max_lifetime",
		"Sets the maximum time for which a session should stay connected.",
		LIMIT_DESC, &limit_settings[CPM_POOL_MAX_LIFETIME], 0, INT_MAX, GUC_UNIT_MS, PGC_SUSET,
		assign_pool_max_lifetime
	},
	{PREFIX ".pool_max_uses",
		"Sets the maximum number of transactions that a session should run.",
		LIMIT_DESC, &limit_settings[CPM_POOL_MAX_USES], 0, INT_MAX, 0, PGC_SUSET,
		assign_pool_max_uses
	},
	{PREFIX ".pool_connection_timeout",
		"Sets the maximum time that setting up a session should take.",
		LIMIT_DESC, &limit_settings[CPM_POOL_CONNECTION_TIMEOUT], 0, INT_MAX, GUC_UNIT_MS,
		PGC_SUSET, assign_pool_connection_timeout
	},
};

/* Return the context of settings that need a restart; see the header of this file. */
static GucContext
startup_context(void)
{
	return process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;
}

void
cpm_settings_define(const CpmMetric *catalogue)
{
	/* first, because the check hook of silent_metrics needs the names of the metrics */
	cpm_metric_settings_define(catalogue);
	cpm_text_settings_define(startup_context());
	for (size_t i = 0; i < lengthof(integers); i++)
		DefineCustomIntVariable(integers[i].name, integers[i].short_desc, integers[i].long_desc,
								integers[i].variable, *integers[i].variable,
								integers[i].min, integers[i].max,
								integers[i].context == PGC_POSTMASTER ?
								startup_context() : integers[i].context,
								integers[i].unit,
								NULL, integers[i].assign, NULL);
	DefineCustomBoolVariable(PREFIX ".track_queries",
							 "Counts and times the statements of client sessions.",
							 "If this is off, sessions, transactions, errors and refused "
							 "connections are still counted.",
							 &cpm_statement_settings.track_queries, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable(PREFIX ".slow_statement_text",
							 "Shows the texts of slow statements in connpool_slow_statements.",
							 "The view reads the texts from pg_stat_statements. Those of utility "
							 "statements contain literals. If this is off, the view shows only "
							 "the queryid.",
							 &cpm_slow_statement_text, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(PREFIX ".application_grouping",
							 "Sets how application names are grouped into pools.",
							 "off: each name has its own pool. host: ignore the address that "
							 "PgBouncer's application_name_add_host appends. numbers: also "
							 "replace each number, hash and random suffix with *.",
							 &cpm_application_grouping, cpm_application_grouping, groupings,
							 PGC_SIGHUP, 0, NULL, assign_application_grouping, NULL);
	MarkGUCPrefixReserved(PREFIX);
}

CpmAges
cpm_settings_ages(void)
{
	CpmAges		ages = {
		.long_transaction_us = long_transaction_age_ms * INT64CONST(1000),
		.leak_us = leak_age_ms * INT64CONST(1000),
		.leak_idle_us = leak_idle_age_ms * INT64CONST(1000),
		.blocked_us = blocked_age_ms * INT64CONST(1000),
		.slow_statement_us = cpm_statement_settings.slow_us,
	};

	return ages;
}

CpmPolicy
cpm_settings_policy(void)
{
	return policy;
}

void
cpm_settings_on_policy_change(void (*changed) (void))
{
	policy_changed = changed;
}

void
cpm_settings_on_grouping_change(void (*changed) (void))
{
	grouping_changed = changed;
}

int64
cpm_settings_exempt_limit_us(void)
{
	return exempt_limit_ms * INT64CONST(1000);
}
