/* SPDX-License-Identifier: PostgreSQL */
/*
 * settings.c
 *		Defines and checks all settings of connpool_monitor.
 *
 * Settings that exist once for each metric are made from the catalogue, so a
 * new metric brings its own. Lists are taken apart in the check hook, never
 * where they are read: a sample asks for exempt applications a thousand times.
 *
 * Also loaded by a session, without shared_preload_libraries. PostgreSQL then
 * allows no setting that needs a restart; those, which mean nothing to such a
 * session, are defined as of a lower context, so that the configuration file
 * may name them.
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
#define MAX_PERCENT 1000.0		/* of a maximum that may be set too low */

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

/* PostgreSQL's own variables, and what they have been set to, which is known a moment earlier. */
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

/* A threshold is a real number where it is a percentage, else an integer. */
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
static const CpmPoolerList *poolers;	/* a check hook's extra */

char	   *cpm_http_token_file;
static char *http_listen_string;
static const CpmListen *http_listen;	/* a check hook's extra */

static char *silent_metrics_string;
static char *exempt_applications_string;
static const bool *silent_metrics;	/* CPM_METRICS flags; a check hook's extra */
static const char *exempt_applications; /* names, each ended by '\0', then '\0' */

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

/* PostgreSQL does not say which setting it assigns: one hook for each. */
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
	GUC_check_errdetail("A maximum is at least 1, or -1 for the default that follows max_connections.");
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

/* Turn on the flag of each metric in the list; false with a detail for bad input. */
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
 * The list of applications, flattened for cpm_settings_is_exempt(). No entry is
 * longer than it stood in the list, and one '\0' ends each and all.
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
		/* role and application, each as long as a name can be, or it would match none */
		strlcpy(end, name, 2 * NAMEDATALEN);
		end += strlen(end) + 1;
	}
	*end = '\0';
	return flat;
}

static bool
check_exempt_applications(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		is_valid = SplitGUCList(copy, ',', &names);

	(void) source;
	if (is_valid)
	{
		*extra = flatten_names(*newval, names);
		is_valid = (*extra != NULL);
	}
	else
	{
		GUC_check_errdetail("List syntax is invalid: applications are separated by commas.");
		GUC_check_errhint("Put a name with spaces or commas in double quotes.");
	}
	list_free(names);
	pfree(copy);
	return is_valid;
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
	/* PostgreSQL's own message would quote the value, and a password in it */
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

/* Settings are named and described for good: their texts are never freed. */
static const char *
keep(char *text)
{
	return MemoryContextStrdup(TopMemoryContext, text);
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
	const char *short_desc = keep(psprintf("Sets when the status of %s becomes %s.", metric->name,
										   strcmp(level, "warning") == 0 ? "WARNING" : "CRITICAL"));

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
							"Statements that run longer are counted in long_queries and slow_statements, and listed in connpool_running_queries and connpool_slow_statements.",
							&slow_statement_time_ms, slow_statement_time_ms, 1, INT_MAX, PGC_SUSET,
							GUC_UNIT_MS, NULL, assign_slow_statement_time, NULL);
	define_time(PREFIX ".slow_query_mean_time",
				"Sets the mean time over which slow_queries lists a statement of pg_stat_statements.",
				NULL,
				&cpm_slow_query_mean_time_ms, 0, INT_MAX, PGC_USERSET);
	define_time(PREFIX ".long_transaction_age",
				"Sets how long a transaction may be open before it counts as long.",
				"Measured from its start, whatever the session does now.",
				&long_transaction_age_ms, 1, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".leak_age",
				"Sets how long a session may be idle in transaction or wait for its client in one, or a transaction be prepared, before it is a leak suspect.",
				"A session is measured from its last change of state, or since it has waited for its client without progress.",
				&leak_age_ms, 1, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".leak_idle_age",
				"Sets how long a session may be idle, while its pool opens newer ones, before connpool_leaks lists it.",
				NULL,
				&leak_idle_age_ms, 1, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".blocked_age",
				"Sets how long a session may wait for a heavyweight lock before it counts as blocked.",
				NULL,
				&blocked_age_ms, 1, INT_MAX, PGC_SIGHUP);
}

static void
define_counting(void)
{
	GucContext	at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	DefineCustomBoolVariable(PREFIX ".track_queries",
							 "Counts and times the statements of client sessions.",
							 "Sessions, transactions, errors and refused connections are counted all the same.",
							 &cpm_statement_settings.track_queries, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PREFIX ".max_pools",
							"Sets how many pools are told apart.",
							"A pool is a database, a role and an application, as application_grouping names it. The one longest without a session makes room for a new one, and its counts go to the pool \"(other)\".",
							&cpm_max_pools, cpm_max_pools, 1, 65535, at_start, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(PREFIX ".application_grouping",
							 "Sets which application names are one pool.",
							 "off: each is its own. host: without the address that PgBouncer's application_name_add_host appends. numbers: also with * for each number, hash and random suffix.",
							 &cpm_application_grouping, cpm_application_grouping, groupings, PGC_SIGHUP,
							 0, NULL, assign_application_grouping, NULL);
	DefineCustomIntVariable(PREFIX ".slow_statements_kept",
							"Sets how many of the last slow statements are remembered.",
							"0 remembers none. They are still counted.",
							&cpm_slow_statements_kept, cpm_slow_statements_kept, 0, 1000000, at_start,
							0, NULL, NULL, NULL);
	DefineCustomBoolVariable(PREFIX ".slow_statement_text",
							 "Shows the texts of slow statements in connpool_slow_statements.",
							 "pg_stat_statements keeps them, those of utility statements with their literals. Off: the view shows the queryid only.",
							 &cpm_slow_statement_text, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_sampling_and_alerts(void)
{
	define_time(PREFIX ".sample_interval",
				"Sets the time from one sample to the next.",
				"The finest tier of the history holds 3660 samples: an hour at one second.",
				&cpm_sample_interval_ms, 100, 60 * 1000, PGC_SIGHUP);
	define_time(PREFIX ".alert_after",
				"Sets how long a threshold must be met before its alert is raised.",
				NULL,
				&cpm_alert_after_ms, 0, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".alert_clear_after",
				"Sets how long a threshold must be clear before its alert falls back.",
				NULL,
				&cpm_alert_clear_after_ms, 0, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".alert_repeat",
				"Sets after how long a standing alert is written to the server log again.",
				"0 never repeats it.",
				&cpm_alert_repeat_ms, 0, INT_MAX, PGC_SIGHUP);
	define_time(PREFIX ".save_interval",
				"Sets how often counters, history and alerts are saved to a file of the data directory.",
				"A crash of the server loses what was counted since; a stop loses nothing.",
				&cpm_save_interval_ms, 1000, INT_MAX, PGC_SIGHUP);
	DefineCustomStringVariable(PREFIX ".notify_database",
							   "Names the database in which transitions of alerts are told by NOTIFY connpool_alerts.",
							   "Empty: nowhere.",
							   &cpm_notify_database, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PREFIX ".notify_rate",
							"Sets how many transitions are told a second, at most.",
							"What is more is counted in connpool_info().",
							&cpm_notify_rate, cpm_notify_rate, 1, 1000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomStringVariable(PREFIX ".silent_metrics",
							   "Lists the metrics that raise no alert and do not degrade health.",
							   "Separated by commas. Their status is still shown by get_connection_stats().",
							   &silent_metrics_string, "idle_connections, long_transactions",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_silent_metrics,
							   assign_silent_metrics, NULL);
	DefineCustomStringVariable(PREFIX ".exempt_applications",
							   "Lists the applications whose sessions are no long transaction, long query or leak.",
							   "Separated by commas: role/application, or application for superusers and members of pg_read_all_data.",
							   &exempt_applications_string, "pg_dump, pg_dumpall",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_exempt_applications,
							   assign_exempt_applications, NULL);
	define_time(PREFIX ".exempt_limit",
				"Sets how long a session of an exempt application is exempt.",
				"Measured from the start of its transaction or, outside a transaction, from its last change of state.",
				&exempt_limit_ms, 1000, INT_MAX, PGC_SIGHUP);
}

static void
define_pgbouncer(void)
{
	GucContext	at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	DefineCustomStringVariable(PREFIX ".pgbouncer",
							   "Names the consoles of PgBouncer that are asked.",
							   "As in 'main=host=127.0.0.1 port=6432 user=stats; other=…'. Passwords are taken from the password file only.",
							   &pgbouncer_string, "", at_start, GUC_SUPERUSER_ONLY,
							   check_pgbouncer, assign_pgbouncer, NULL);
	define_time(PREFIX ".pgbouncer_interval",
				"Sets how often each console of PgBouncer is asked.",
				"A console that does not answer within that time, and at least a second, is down.",
				&cpm_pgbouncer_interval_ms, 10, 60 * 60 * 1000, PGC_SIGHUP);
}

static void
define_http(void)
{
	GucContext	at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	DefineCustomStringVariable(PREFIX ".http_listen",
							   "Sets the address and port at which health and metrics are served over HTTP.",
							   "As in 127.0.0.1:9188. Empty: no HTTP. Other machines are served only with http_token_file.",
							   &http_listen_string, "", at_start, 0, check_http_listen, assign_http_listen, NULL);
	DefineCustomStringVariable(PREFIX ".http_token_file",
							   "Names the file with the token that requests over HTTP must bear.",
							   "Readable by the server's owner only. Everything but /health/database then asks for it.",
							   &cpm_http_token_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

static void
define_limit(const char *name, const char *short_desc, CpmLimit id, int largest, int unit,
			 GucIntAssignHook assign)
{
	DefineCustomIntVariable(name, short_desc,
							"A limit that the pool of an application should keep, judged and never enforced. Set it for a role or a database; 0 is none.",
							&limit_settings[id], 0, 0, largest, PGC_SUSET, unit, NULL, assign, NULL);
}

static void
define_policy(void)
{
	define_limit(PREFIX ".pool_max", "Sets how many connections the role should have in the database, at most.",
				 CPM_POOL_MAX, MAX_CONNECTIONS_LIMIT, 0, assign_pool_max);
	define_limit(PREFIX ".pool_min", "Sets how many connections the role should have in the database, at least.",
				 CPM_POOL_MIN, MAX_CONNECTIONS_LIMIT, 0, assign_pool_min);
	define_limit(PREFIX ".pool_idle_timeout", "Sets how long a session should be idle, at most.",
				 CPM_POOL_IDLE_TIMEOUT, INT_MAX, GUC_UNIT_MS, assign_pool_idle_timeout);
	define_limit(PREFIX ".pool_max_lifetime", "Sets how long a session should be used, at most.",
				 CPM_POOL_MAX_LIFETIME, INT_MAX, GUC_UNIT_MS, assign_pool_max_lifetime);
	define_limit(PREFIX ".pool_max_uses", "Sets how many transactions a session should run, at most.",
				 CPM_POOL_MAX_USES, INT_MAX, 0, assign_pool_max_uses);
	define_limit(PREFIX ".pool_connection_timeout", "Sets how long it should take to set up a session, at most.",
				 CPM_POOL_CONNECTION_TIMEOUT, INT_MAX, GUC_UNIT_MS, assign_pool_connection_timeout);
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
	define_sampling_and_alerts();
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

/* The application of an entry, behind the role and a slash if it has one. */
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
	static const CpmListen nowhere;

	return http_listen ? http_listen : &nowhere;
}
