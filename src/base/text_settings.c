/* SPDX-License-Identifier: PostgreSQL */
/*
 * text_settings.c
 *		The settings that are text.
 *
 * Check hooks parse the settings that have a syntax. They reject invalid values and keep the
 * parsed form, so that the sampler need not parse a setting for every session.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/metric_settings.h"
#include "base/text_settings.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#define PREFIX "connpool_monitor"

char	   *cpm_notify_database;
char	   *cpm_http_token_file;

static char *exempt_applications_string;
static char *silent_metrics_string;
static char *pgbouncer_string;
static char *http_listen_string;

/* The results of the check hooks ("extra"), which the assign hooks store here. */
static const bool *silent_metrics;	/* by CpmMetricId */
static const char *exempt_applications; /* names, each terminated by '\0', then another '\0' */
static const CpmPoolerList *pooler_list;
static const CpmListen *http_listen;

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
		int			id = cpm_settings_metric(lfirst(cell));

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

bool
cpm_settings_is_silent(CpmMetricId id)
{
	return silent_metrics != NULL && silent_metrics[id];
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
		/* the longest role/application that can match: PostgreSQL truncates both names */
		strlcpy(end, lfirst(cell), 2 * NAMEDATALEN);
		end += strlen(end) + 1;
	}
	*end = '\0';
	return flat;
}

/* Return the application of an entry "role/application" or "application". */
static const char *
application_of(const char *entry)
{
	const char *slash = strchr(entry, '/');

	return slash != NULL ? slash + 1 : entry;
}

/*
 * Return true if every entry has an application, and a role if it has a slash; otherwise set the
 * error's detail.
 */
static bool
check_entries(const List *entries)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		const char *entry = lfirst(cell);

		if (entry[0] == '/')
			GUC_check_errdetail("The entry \"%s\" has no role before the slash.", entry);
		else if (application_of(entry)[0] == '\0')
			GUC_check_errdetail("The entry \"%s\" has no application.", entry);
		else
			continue;
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
	else if (check_entries(names))
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

/* Reject a value with the given errdetail. Frees the extra, which PostgreSQL would not free. */
static bool
reject_value(void **extra, const char *problem)
{
	cpm_guc_free(*extra);
	*extra = NULL;
	GUC_check_errdetail("%s", problem);
	return false;
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
	/* the default message would quote the value, which may contain a password */
	GUC_check_errmsg("invalid value for parameter \"%s\"", PREFIX ".pgbouncer");
	return reject_value(extra, problem);
}

static void
assign_pgbouncer(const char *newval, void *extra)
{
	(void) newval;
	pooler_list = extra;
}

const CpmPoolerList *
cpm_settings_poolers(void)
{
	static const CpmPoolerList none;

	return pooler_list != NULL ? pooler_list : &none;
}

static bool
check_http_listen(char **newval, void **extra, GucSource source)
{
	const char *problem = NULL;

	(void) source;
	*extra = cpm_guc_malloc(sizeof(CpmListen));
	if (*extra == NULL)
		return false;
	return cpm_listen_parse(*newval, *extra, &problem) || reject_value(extra, problem);
}

static void
assign_http_listen(const char *newval, void *extra)
{
	(void) newval;
	http_listen = extra;
}

const CpmListen *
cpm_settings_http_listen(void)
{
	static const CpmListen off;

	return http_listen ? http_listen : &off;
}

/*
 * A row of the table below. If context is PGC_POSTMASTER, cpm_text_settings_define() uses its
 * argument instead.
 */
typedef struct StringSetting
{
	const char *name;
	const char *short_desc;
	const char *long_desc;
	char	  **variable;
	const char *boot;
	GucContext	context;
	int			flags;
	GucStringCheckHook check;
	GucStringAssignHook assign;
} StringSetting;

static const StringSetting strings[] = {
	{PREFIX ".exempt_applications",
		"Lists the applications whose sessions do not count as long transactions, long queries "
		"or leaks.",
		"Separated by commas. Each entry is role/application. An entry without a role applies to "
		"superusers and roles with the privileges of pg_read_all_data. An exemption ends after "
		"exempt_limit.",
		&exempt_applications_string, "pg_dump, pg_dumpall", PGC_SIGHUP, GUC_LIST_INPUT,
		check_exempt_applications, assign_exempt_applications
	},
	{PREFIX ".notify_database",
		"Sets the database in which alert transitions are sent by NOTIFY connpool_alerts.",
		"An empty string turns notifications off.",
		&cpm_notify_database, "", PGC_SIGHUP, 0, NULL, NULL
	},
	{PREFIX ".silent_metrics",
		"Lists the metrics that raise no alert and do not degrade health.",
		"Separated by commas. Their status is still shown by get_connection_stats().",
		&silent_metrics_string, "idle_connections, long_transactions", PGC_SIGHUP,
		GUC_LIST_INPUT, check_silent_metrics, assign_silent_metrics
	},
	{PREFIX ".pgbouncer",
		"Lists the consoles of PgBouncer that are queried.",
		"For example: 'main=host=127.0.0.1 port=6432 user=stats; other=host=10.0.0.5'. "
		"Passwords are read from the password file only.",
		&pgbouncer_string, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_pgbouncer,
		assign_pgbouncer
	},
	{PREFIX ".http_listen",
		"Sets the address and port at which health and metrics are served over HTTP.",
		"For example: 127.0.0.1:9188. An empty string turns HTTP off. Other machines are served "
		"only if http_token_file is set.",
		&http_listen_string, "", PGC_POSTMASTER, 0, check_http_listen, assign_http_listen
	},
	{PREFIX ".http_token_file",
		"Sets the file that contains the bearer token for HTTP requests.",
		"If it is set, requests must send the token, except those for /health/database. Only the "
		"server's owner may have access to the file.",
		&cpm_http_token_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL
	},
};

void
cpm_text_settings_define(GucContext startup)
{
	for (size_t i = 0; i < lengthof(strings); i++)
		DefineCustomStringVariable(strings[i].name, strings[i].short_desc, strings[i].long_desc,
								   strings[i].variable, strings[i].boot,
								   strings[i].context == PGC_POSTMASTER ? startup :
								   strings[i].context, strings[i].flags,
								   strings[i].check, strings[i].assign, NULL);
}
