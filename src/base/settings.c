/* SPDX-License-Identifier: PostgreSQL */
/*
 * settings.c
 *		Defines, checks and reads the settings of connpool_monitor.
 *
 * The settings of metrics (thresholds, maximum) are defined from the catalogue, so that a new
 * metric gets its own. Lists are parsed once, in the check hook, because a sample reads them for
 * every session.
 *
 * A session may load the library without shared_preload_libraries. PostgreSQL then does not allow
 * PGC_POSTMASTER settings to be defined. They have no effect in such a session, but the
 * configuration file may contain them, so they are defined as PGC_SIGHUP.
 */
#include "postgres.h"

#include <limits.h>

#include "base/compat.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#define PREFIX "connpool_monitor"
#define MAX_CONNECTIONS_LIMIT 262143	/* PostgreSQL's MAX_BACKENDS */
#define MAX_PERCENT 1000.0		/* above 100, because <metric>_max may be set too low */

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
int			cpm_notify_rate = 10;
char	   *cpm_notify_database;
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

static char *pgbouncer_string;
static const CpmPoolerList *poolers;	/* the extra of check_pgbouncer() */

char	   *cpm_http_token_file;
static char *http_listen_string;
static const CpmListen *http_listen;	/* the extra of check_http_listen() */

static char *silent_metrics_string;
static char *exempt_applications_string;
static const bool *silent_metrics;	/* by CpmMetricId; the extra of check_silent_metrics() */
static const char *exempt_applications; /* the extra of check_exempt_applications(): names, each
										 * terminated by '\0', then another '\0' */

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
	GUC_check_errdetail("A maximum is at least 1, or -1 for the default "
						"that follows max_connections.");
	return false;
}

static int
metric_by_name(const char *name)
{
	for (int i = 0; i < CPM_METRICS; i++)
		if (pg_strcasecmp(metrics[i].name, name) == 0)
			return i;
	return -1;
}

/* Set the flag of each metric in the list; returns false with an errdetail for invalid input. */
static bool
parse_metric_list(const char *list, bool *flags)
{
	char	   *copy = pstrdup(list);
	List	   *names = NIL;
	ListCell   *cell;
	bool		is_valid = SplitGUCList(copy, ',', &names);

	if (!is_valid)
		GUC_check_errdetail("List syntax is invalid: metric names are separated by commas.");

	foreach(cell, is_valid ? names : NIL)
	{
		int			id = metric_by_name(lfirst(cell));

		if (id < 0)
		{
			GUC_check_errdetail("There is no metric \"%s\".", (char *) lfirst(cell));
			GUC_check_errhint("The metrics are those that get_connection_stats() lists.");
			is_valid = false;
			break;
		}
		flags[id] = true;
	}
	list_free(names);
	pfree(copy);
	return is_valid;
}

static bool
check_silent_metrics(char **newval, void **extra, GucSource source)
{
	bool		flags[CPM_METRICS] = {false};

	(void) source;
	if (!parse_metric_list(*newval, flags))
		return false;
	*extra = cpm_guc_malloc(sizeof(flags));
	if (*extra == NULL)
		return false;
	memcpy(*extra, flags, sizeof(flags));
	return true;
}

static void
assign_silent_metrics(const char *newval, void *extra)
{
	(void) newval;
	silent_metrics = extra;
}

/*
 * Return the names as one chunk for exempt_applications; NULL if out of memory. The parsed names
 * are together no longer than the list, and each needs one '\0'.
 */
static char *
flatten_names(const char *list, List *names)
{
	char	   *flat = cpm_guc_malloc(strlen(list) + list_length(names) + 2);
	char	   *end = flat;
	ListCell   *cell;

	if (flat == NULL)
		return NULL;
	foreach(cell, names)
	{
		const char *name = lfirst(cell);

		if (name[0] == '\0')
			continue;
		/* the longest role/application that can match: PostgreSQL truncates both names */
		strlcpy(end, name, 2 * NAMEDATALEN);
		end += strlen(end) + 1;
	}
	*end = '\0';
	return flat;
}

/* Return true if no entry has an empty role, as in "/app"; otherwise set the error's detail. */
static bool
check_roles(const List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		if (((const char *) lfirst(cell))[0] != '/')
			continue;
		GUC_check_errdetail("The entry \"%s\" has no role before the slash.",
							(const char *) lfirst(cell));
		return false;
	}
	return true;
}

static bool
check_exempt_applications(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		is_valid = SplitGUCList(copy, ',', &names);

	(void) source;
	if (!is_valid)
	{
		GUC_check_errdetail("List syntax is invalid: applications are separated by commas.");
		GUC_check_errhint("Put a name with spaces or commas in double quotes.");
	}
	else if (check_roles(names))
		*extra = flatten_names(*newval, names);
	list_free(names);
	pfree(copy);
	return *extra != NULL;
}

static void
assign_exempt_applications(const char *newval, void *extra)
{
	(void) newval;
	exempt_applications = extra;
}

static bool
check_pgbouncer(char **newval, void **extra, GucSource source)
{
	const char *problem = NULL;

	(void) source;
	*extra = cpm_guc_malloc(sizeof(CpmPoolerList));
	if (*extra == NULL)
		return false;
	if (cpm_pooler_list_parse(*newval, *extra, &problem))
		return true;
	cpm_guc_free(*extra);
	*extra = NULL;
	/* the default message would quote the value, which may contain a password */
	GUC_check_errmsg("invalid value for parameter \"%s\"", PREFIX ".pgbouncer");
	GUC_check_errdetail("%s", problem);
	return false;
}

static bool
check_http_listen(char **newval, void **extra, GucSource source)
{
	const char *problem = NULL;

	(void) source;
	*extra = cpm_guc_malloc(sizeof(CpmListen));
	if (*extra == NULL)
		return false;
	if (cpm_listen_parse(*newval, *extra, &problem))
		return true;
	cpm_guc_free(*extra);
	*extra = NULL;
	GUC_check_errdetail("%s", problem);
	return false;
}

static void
assign_http_listen(const char *newval, void *extra)
{
	(void) newval;
	http_listen = extra;
}

static void
assign_pgbouncer(const char *newval, void *extra)
{
	(void) newval;
	poolers = extra;
}

/* Copy a name or description of a setting to memory that is never freed. */
static const char *
keep(char *text)
{
	return MemoryContextStrdup(TopMemoryContext, text);
}

/* Return the context of settings that need a restart; see the header of this file. */
static GucContext
startup_context(void)
{
	return process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;
}

static void
define_integer(const char *name, const char *short_desc, const char *long_desc, int *variable,
			   int min_value, int max_value, GucContext context)
{
	DefineCustomIntVariable(name, short_desc, long_desc, variable, *variable, min_value, max_value,
							context, 0, NULL, NULL, NULL);
}

static void
define_string(const char *name, const char *short_desc, const char *long_desc, char **variable,
			  const char *boot, GucContext context, int flags, GucStringCheckHook check,
			  GucStringAssignHook assign)
{
	DefineCustomStringVariable(name, short_desc, long_desc, variable, boot, context, flags,
							   check, assign, NULL);
}

static void
define_time(const char *name, const char *short_desc, const char *long_desc, int *variable,
			int min_ms, int max_ms, GucContext context)
{
	DefineCustomIntVariable(name, short_desc, long_desc, variable, *variable, min_ms, max_ms,
							context, GUC_UNIT_MS, NULL, NULL, NULL);
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
			keep(psprintf("In percent of its maximum; met at or above. -1 turns it off. "
						  "The metric: %s", metric->help));

		setting->percent = boot;
		DefineCustomRealVariable(name, short_desc, long_desc, &setting->percent, boot,
								 -1, MAX_PERCENT, PGC_SIGHUP, 0, check_percent, NULL, NULL);
	}
	else
	{
		int			time_unit = metric->unit == CPM_UNIT_SECONDS ? GUC_UNIT_S :
			metric->unit == CPM_UNIT_MILLISECONDS ? GUC_UNIT_MS : 0;
		const char *long_desc =
			keep(psprintf("Met at or %s. -1 turns it off. The metric: %s",
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

static void
define_metric_settings(void)
{
	for (int i = 0; i < CPM_METRICS; i++)
	{
		define_threshold(&metrics[i], "warning", metrics[i].warning, &warning_settings[i]);
		define_threshold(&metrics[i], "critical", metrics[i].critical, &critical_settings[i]);
		if (metrics[i].max_is_setting)
			define_maximum(&metrics[i], &maximum_settings[i]);
	}
}

static void
define_ages(void)
{
	DefineCustomIntVariable(PREFIX ".slow_statement_time",
							"Sets how long a statement may run before it is slow.",
							"Statements that run longer are counted in long_queries and "
							"slow_statements, and listed in connpool_running_queries and "
							"connpool_slow_statements.",
							&slow_statement_time_ms, slow_statement_time_ms, 1, INT_MAX, PGC_SUSET,
							GUC_UNIT_MS, NULL, assign_slow_statement_time, NULL);
	define_time(PREFIX ".slow_query_mean_time",
				"Sets the mean time over which slow_queries lists a statement "
				"of pg_stat_statements.",
				NULL,
				&cpm_slow_query_mean_time_ms, 0, INT_MAX, PGC_USERSET);
	define_time(PREFIX ".long_transaction_age",
				"Sets how long a transaction may be open before it counts as long.",
				"The age is measured from the start of the transaction, be it idle or active.",
				&long_transaction_age_ms, 1, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".leak_age",
				"Sets how long a transaction may be idle, wait for its client or stay prepared "
				"before it is a leak suspect.",
				"The age of a session is measured from its last change of state, "
				"or from the start of its wait for the client.",
				&leak_age_ms, 1, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".leak_idle_age",
				"Sets how long a session may be idle, while its pool opens newer ones, "
				"before connpool_leaks lists it.",
				NULL,
				&leak_idle_age_ms, 1, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".blocked_age",
				"Sets how long a session may wait for a heavyweight lock "
				"before it counts as blocked.",
				NULL,
				&blocked_age_ms, 1, INT_MAX, PGC_SIGHUP);
}

static void
define_counting(void)
{
	DefineCustomBoolVariable(PREFIX ".track_queries",
							 "Counts and times the statements of client sessions.",
							 "If this is off, sessions, transactions, errors and refused "
							 "connections are still counted.",
							 &cpm_statement_settings.track_queries, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	define_integer(PREFIX ".max_pools",
				   "Sets the maximum number of pools that are counted separately.",
				   "A pool is the sessions of one application (see application_grouping), role "
				   "and database. A new pool replaces the one that has been without sessions for "
				   "longest, whose counters are added to the pool \"(other)\".",
				   &cpm_max_pools, 1, 65535, startup_context());
	DefineCustomEnumVariable(PREFIX ".application_grouping",
							 "Sets how application names are grouped into pools.",
							 "off: each name has its own pool. host: ignore the address that "
							 "PgBouncer's application_name_add_host appends. numbers: also "
							 "replace each number, hash and random suffix with *.",
							 &cpm_application_grouping, cpm_application_grouping, groupings,
							 PGC_SIGHUP, 0, NULL, assign_application_grouping, NULL);
	define_integer(PREFIX ".slow_statements_kept",
				   "Sets how many of the latest slow statements are kept.",
				   "0 keeps none. Slow statements are counted nevertheless.",
				   &cpm_slow_statements_kept, 0, 1000000, startup_context());
	DefineCustomBoolVariable(PREFIX ".slow_statement_text",
							 "Shows the texts of slow statements in connpool_slow_statements.",
							 "pg_stat_statements keeps them, those of utility statements with their "
							 "literals. If this is off, the view shows only the queryid.",
							 &cpm_slow_statement_text, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_sampling(void)
{
	define_time(PREFIX ".sample_interval",
				"Sets the interval between samples.",
				"The finest tier of the history holds 3660 samples: an hour at one second.",
				&cpm_sample_interval_ms, 100, 60 * 1000, PGC_SIGHUP);
	define_time(PREFIX ".save_interval",
				"Sets how often counters, history and alerts are saved to a file "
				"in the data directory.",
				"A crash of the server loses the data since the last save; a shutdown loses none.",
				&cpm_save_interval_ms, 1000, INT_MAX, PGC_SIGHUP);
	define_string(PREFIX ".exempt_applications",
				  "Lists the applications whose sessions never count as long transactions, "
				  "long queries or leaks.",
				  "Separated by commas. Each entry is role/application, "
				  "or application for superusers and members of pg_read_all_data.",
				  &exempt_applications_string, "pg_dump, pg_dumpall", PGC_SIGHUP, GUC_LIST_INPUT,
				  check_exempt_applications, assign_exempt_applications);
	define_time(PREFIX ".exempt_limit",
				"Sets how long a session of an exempt application is exempt.",
				"The time is measured from the start of its transaction or, "
				"outside a transaction, from its last change of state.",
				&exempt_limit_ms, 1000, INT_MAX, PGC_SIGHUP);
}

static void
define_alerts(void)
{
	define_time(PREFIX ".alert_after",
				"Sets how long a threshold must be met before its alert is raised.",
				NULL,
				&cpm_alert_after_ms, 0, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".alert_clear_after",
				"Sets how long a threshold must not be met before its alert is cleared.",
				NULL,
				&cpm_alert_clear_after_ms, 0, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".alert_repeat",
				"Sets the interval after which an alert that is still raised is logged again.",
				"0 turns repetition off.",
				&cpm_alert_repeat_ms, 0, INT_MAX, PGC_SIGHUP);
	define_string(PREFIX ".notify_database",
				  "Sets the database in which alert transitions are sent "
				  "by NOTIFY connpool_alerts.",
				  "An empty string turns notifications off.",
				  &cpm_notify_database, "", PGC_SIGHUP, 0, NULL, NULL);
	define_integer(PREFIX ".notify_rate",
				   "Sets the maximum number of alert transitions sent by NOTIFY per second.",
				   "Further transitions are not sent; connpool_info() counts them.",
				   &cpm_notify_rate, 1, 1000, PGC_SIGHUP);
	define_string(PREFIX ".silent_metrics",
				  "Lists the metrics that raise no alert and do not degrade health.",
				  "Separated by commas. Their status is still shown by get_connection_stats().",
				  &silent_metrics_string, "idle_connections, long_transactions", PGC_SIGHUP,
				  GUC_LIST_INPUT, check_silent_metrics, assign_silent_metrics);
}

static void
define_pgbouncer(void)
{
	define_string(PREFIX ".pgbouncer",
				  "Lists the consoles of PgBouncer that are queried.",
				  "For example: 'main=host=127.0.0.1 port=6432 user=stats; other=host=10.0.0.5'. "
				  "Passwords are read from the password file only.",
				  &pgbouncer_string, "", startup_context(), GUC_SUPERUSER_ONLY,
				  check_pgbouncer, assign_pgbouncer);
	define_time(PREFIX ".pgbouncer_interval",
				"Sets how often each console of PgBouncer is queried.",
				"A console that does not answer within this time (but at least 1 s and "
				"at most 10 s) is reported as down.",
				&cpm_pgbouncer_interval_ms, 10, 60 * 60 * 1000, PGC_SIGHUP);
}

static void
define_http(void)
{
	define_string(PREFIX ".http_listen",
				  "Sets the address and port at which health and metrics are served over HTTP.",
				  "For example: 127.0.0.1:9188. An empty string turns HTTP off. "
				  "Other machines are served only if http_token_file is set.",
				  &http_listen_string, "", startup_context(), 0,
				  check_http_listen, assign_http_listen);
	define_string(PREFIX ".http_token_file",
				  "Sets the file that contains the bearer token for HTTP requests.",
				  "Only the server's owner may have access to the file. "
				  "All paths except /health/database then require the token.",
				  &cpm_http_token_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL);
}

static void
define_limit(const char *name, const char *short_desc, CpmLimit id, int max_value, int unit,
			 GucIntAssignHook assign)
{
	DefineCustomIntVariable(name, short_desc,
							"Violations of this limit are reported, but it is never enforced. "
							"Set it for a role or a database; 0 means no limit.",
							&limit_settings[id], 0, 0, max_value, PGC_SUSET, unit,
							NULL, assign, NULL);
}

static void
define_policy(void)
{
	define_limit(PREFIX ".pool_max",
				 "Sets the maximum number of connections that the role should have "
				 "in the database.",
				 CPM_POOL_MAX, MAX_CONNECTIONS_LIMIT, 0, assign_pool_max);
	define_limit(PREFIX ".pool_min",
				 "Sets the minimum number of connections that the role should have "
				 "in the database.",
				 CPM_POOL_MIN, MAX_CONNECTIONS_LIMIT, 0, assign_pool_min);
	define_limit(PREFIX ".pool_idle_timeout",
				 "Sets the maximum time for which a session should be idle.",
				 CPM_POOL_IDLE_TIMEOUT, INT_MAX, GUC_UNIT_MS, assign_pool_idle_timeout);
	define_limit(PREFIX ".pool_max_lifetime",
				 "Sets the maximum time for which a session should stay connected.",
				 CPM_POOL_MAX_LIFETIME, INT_MAX, GUC_UNIT_MS, assign_pool_max_lifetime);
	define_limit(PREFIX ".pool_max_uses",
				 "Sets the maximum number of transactions that a session should run.",
				 CPM_POOL_MAX_USES, INT_MAX, 0, assign_pool_max_uses);
	define_limit(PREFIX ".pool_connection_timeout",
				 "Sets the maximum time that setting up a session should take.",
				 CPM_POOL_CONNECTION_TIMEOUT, INT_MAX, GUC_UNIT_MS,
				 assign_pool_connection_timeout);
}

void
cpm_settings_define(const CpmMetric *catalogue)
{
	metrics = catalogue;
	define_ages();
	define_counting();
	define_policy();
	define_pgbouncer();
	define_http();
	define_sampling();
	define_alerts();
	define_metric_settings();
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

const CpmPoolerList *
cpm_settings_poolers(void)
{
	static const CpmPoolerList none;

	return poolers != NULL ? poolers : &none;
}

bool
cpm_settings_is_silent(CpmMetricId id)
{
	return silent_metrics != NULL && silent_metrics[id];
}

/* Return the application of an entry "role/application" or "application". */
static const char *
application_of(const char *entry)
{
	const char *slash = strchr(entry, '/');

	return slash != NULL ? slash + 1 : entry;
}

bool
cpm_settings_exempts_application(const char *application_name)
{
	if (exempt_applications == NULL)
		return false;
	for (const char *entry = exempt_applications; *entry != '\0'; entry += strlen(entry) + 1)
		if (strcmp(application_of(entry), application_name) == 0)
			return true;
	return false;
}

bool
cpm_settings_is_exempt(const char *application_name, const char *role, bool is_trusted)
{
	if (exempt_applications == NULL)
		return false;
	for (const char *entry = exempt_applications; *entry != '\0'; entry += strlen(entry) + 1)
	{
		const char *application = application_of(entry);
		size_t		role_length = application > entry ? application - entry - 1 : 0;

		if (strcmp(application, application_name) != 0)
			continue;
		if (application == entry ? is_trusted :
			role != NULL && strlen(role) == role_length && strncmp(role, entry, role_length) == 0)
			return true;
	}
	return false;
}

int64
cpm_settings_exempt_limit_us(void)
{
	return exempt_limit_ms * INT64CONST(1000);
}

const CpmListen *
cpm_settings_http_listen(void)
{
	static const CpmListen off;

	return http_listen ? http_listen : &off;
}
