/* SPDX-License-Identifier: PostgreSQL */
/*
 * info_and_reset.c
 *		connpool_info(): the status of the extension itself. connpool_reset(): resets its data.
 *		_connpool_server_setting(): the server's value of a setting.
 *		_connpool_refuse(): makes CREATE EXTENSION fail because of a name conflict.
 */
#include "postgres.h"

#include <math.h>

#include "base/attributes.h"
#include "base/compat.h"
#include "base/server_settings.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/text_settings.h"
#include "base/version.h"
#include "counters/minute_counters.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_load.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/deadlocks.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "events/lock_log.h"
#include "events/rejections.h"
#include "events/slow_statements.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "lib/stringinfo.h"
#include "samples/alert_state.h"
#include "samples/incidents.h"
#include "samples/notify_queue.h"
#include "samples/pooler_state.h"
#include "samples/rollups.h"
#include "samples/sample_ring.h"
#include "samples/session_history.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_info_1_0);
PG_FUNCTION_INFO_V1(connpool_reset_1_0);
PG_FUNCTION_INFO_V1(connpool_server_setting_1_0);
PG_FUNCTION_INFO_V1(connpool_refuse_1_0);

static void
CPM_PRINTF(2, 3)
append_problem(StringInfo problems, const char *format,...)
{
	va_list		arguments;
	char		problem[2048];

	va_start(arguments, format);
	vsnprintf(problem, sizeof(problem), format, arguments);
	va_end(arguments);
	appendStringInfo(problems, "%s%s", problems->len > 0 ? "; " : "", problem);
}

static void
append_missing_worker(StringInfo problems, const char *problem)
{
	append_problem(problems, "%s: if this persists, raise max_worker_processes and restart, "
				   "or see the server log", problem);
}

/* Append a problem that names the PgBouncers that have been queried and do not answer. */
static void
append_console_problem(StringInfo problems)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < cpm_poolers_count(); i++)
	{
		CpmPoolerState state = cpm_pooler_state(i);
		bool		was_queried = state.last_error[0] != '\0' || state.last_success != 0;

		if (was_queried && !cpm_pooler_is_fresh(i))
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", state.name);
	}
	if (names.len > 0)
		append_problem(problems, "no answer from PgBouncer %s: see last_error in "
					   "connpool_pgbouncer", names.data);
}

/* Append the problems of the HTTP and PgBouncer workers, which run only if they are configured. */
static void
append_optional_worker_problems(StringInfo problems)
{
	CpmWorkerStatus http = cpm_worker_status(CPM_WORKER_HTTP);
	bool		wants_http = cpm_settings_http_listen()->host[0] != '\0';

	if (wants_http && http.pid == 0)
		append_missing_worker(problems, "the HTTP worker is not running");
	else if (wants_http && http.problem[0] != '\0')
		append_problem(problems, "%s", http.problem);
	if (cpm_settings_poolers()->count > 0 && cpm_worker_status(CPM_WORKER_PGBOUNCER).pid == 0)
		append_missing_worker(problems, "the PgBouncer worker is not running");
	else
		append_console_problem(problems);
}

static void
append_sampler_problem(StringInfo problems, const CpmWorkerStatus *sampler)
{
	if (sampler->pid != 0)
	{
		if (cpm_worker_is_stale(sampler, cpm_sample_interval_ms))
			append_problem(problems, "the sampler has taken no sample for ten intervals");
	}
	else if (sampler->rounds > 0)
		append_problem(problems, "the sampler is not running: see the server log");
	else
		append_missing_worker(problems, "the sampler has not started");
}

static void
append_saver_problem(StringInfo problems, const CpmWorkerStatus *saver)
{
	if (saver->pid == 0)
		append_missing_worker(problems,
							  "the saver is not running, so a crash would lose all statistics");
	else if (saver->problem[0] != '\0')
		append_problem(problems,
					   "the last save failed, so a crash would lose all statistics since the "
					   "previous one: see last_save_error");
	else if (cpm_worker_is_stale(saver, cpm_save_interval_ms))
		append_problem(problems,
					   "the saver has saved nothing for ten intervals, so a crash would lose all "
					   "statistics since last_saved");
}

/* Return the problems that an administrator should fix, the most urgent first; NULL if none. */
static const char *
describe_problems(const CpmWorkerStatus *sampler, const CpmWorkerStatus *saver)
{
	StringInfoData problems;

	if (!cpm_is_preloaded())
		return "connpool_monitor is not in shared_preload_libraries: no history, no alerts";
	initStringInfo(&problems);
	append_sampler_problem(&problems, sampler);
	append_saver_problem(&problems, saver);
	if (cpm_server_setting(CPM_SERVER_LOG_MIN_MESSAGES) > FATAL)
		append_problem(&problems,
					   "log_min_messages hides FATAL, so refused connections are not counted and "
					   "raise no alert: lower it");
	if (cpm_notifications_are_failing())
		append_problem(&problems,
					   "NOTIFY fails: check that notify_database exists and that "
					   "max_worker_processes has a free slot, and see the server log");
	append_optional_worker_problems(&problems);
	return problems.len > 0 ? problems.data : NULL;
}

/*
 * Columns: version, preloaded, sampler_running, last_sample, sample_time, samples,
 * samples_missed, shared_memory_bytes, refusals_counted, failures_exact, pools_used,
 * pools_folded, notifications_dropped, stats_reset, last_saved, last_save_error, problem,
 * session_history_since, session_history_lost.
 */
Datum
connpool_info_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_rows_begin(fcinfo);
	CpmWorkerStatus sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	CpmWorkerStatus saver = cpm_worker_status(CPM_WORKER_SAVER);
	bool		has_sampled = sampler.last_round != 0;
	int			min_messages = cpm_server_setting(CPM_SERVER_LOG_MIN_MESSAGES);
	CpmRow		row = {0};

	cpm_row_text(&row, CPM_VERSION);
	cpm_row_bool(&row, cpm_is_preloaded());
	cpm_row_bool(&row, sampler.pid != 0);
	cpm_row_past_time(&row, sampler.last_round);
	cpm_row_float8(&row, has_sampled ? sampler.cost_ms : NAN);
	cpm_row_int8(&row, sampler.rounds);
	cpm_row_int8(&row, sampler.missed);
	cpm_row_int8(&row, cpm_shmem_total_size());
	cpm_row_bool(&row, cpm_is_preloaded() && cpm_rejections_are_logged(min_messages));
	cpm_row_bool(&row, cpm_is_preloaded() && cpm_errors_are_logged(min_messages));
	cpm_row_int4(&row, cpm_pools_used());
	cpm_row_int8(&row, cpm_pools_evicted());
	cpm_row_int8(&row, cpm_notifications_dropped());
	cpm_row_past_time(&row, cpm_stat_windows_reset_at());
	cpm_row_past_time(&row, saver.last_round);
	cpm_row_text(&row, saver.problem[0] != '\0' ? saver.problem : NULL);
	cpm_row_text(&row, describe_problems(&sampler, &saver));
	cpm_row_past_time(&row, cpm_session_history_since());
	cpm_row_int8(&row, cpm_session_history_lost());
	cpm_row_emit(&row, result);
	return (Datum) 0;
}

static void
reset_counters(void)
{
	TimestampTz now = GetCurrentTimestamp();
	CpmCounters counters;
	CpmPoolSnapshot totals = cpm_pool_snapshot_alloc(CPM_HISTOGRAM_OF_EACH_POOL);

	/* the lock excludes other resets, and evictions, which add counters of a pool to "(other)" */
	LWLockAcquire(cpm_pools_lock(), LW_EXCLUSIVE);
	cpm_rejections_reset();
	cpm_errors_reset();
	cpm_slow_statements_reset();
	cpm_pools_reset_baselines(&totals);
	cpm_pool_busy_reset();
	cpm_pool_load_reset();
	cpm_leak_log_reset(now);
	cpm_lock_log_reset();
	cpm_deadlocks_reset();
	cpm_session_counters_reset();
	cpm_monotonic_reset();
	cpm_stat_windows_reset(now);
	counters = cpm_sample_counters_now();
	cpm_minute_counters_reset(&counters);
	LWLockRelease(cpm_pools_lock());
}

/* connpool_reset(what text): reset "counters", "history", "alerts" or "all". */
Datum
connpool_reset_1_0(PG_FUNCTION_ARGS)
{
	const char *what = PG_ARGISNULL(0) ? "NULL" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		all = strcmp(what, "all") == 0;
	bool		counters = all || strcmp(what, "counters") == 0;
	bool		history = all || strcmp(what, "history") == 0;
	bool		alerts = all || strcmp(what, "alerts") == 0;

	cpm_require_preloaded("connpool_reset()");
	if (!counters && !history && !alerts)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized reset target: \"%s\"", what),
				 errhint("Reset \"counters\", \"history\", \"alerts\" or \"all\".")));
	if (counters)
		reset_counters();
	if (history)
	{
		cpm_sample_ring_reset();
		cpm_rollups_reset();
		cpm_session_history_reset();
	}
	if (alerts)
	{
		cpm_alerts_reset();
		cpm_incidents_reset();
	}
	cpm_worker_request(CPM_WORKER_SAVER);
	PG_RETURN_VOID();
}

/* _connpool_server_setting(name text): NULL if the setting is not one of base/server_settings. */
Datum
connpool_server_setting_1_0(PG_FUNCTION_ARGS)
{
	CpmServerSetting id = cpm_server_setting_named(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (id == CPM_SERVER_SETTINGS)
		PG_RETURN_NULL();
	PG_RETURN_INT32(cpm_server_setting(id));
}

/*
 * _connpool_refuse(schema name, object text): fail with 42710 because the schema already has an
 * object that conflicts with those of the extension. "object" is its kind and its name. Only the
 * script of the extension calls this function.
 */
Datum
connpool_refuse_1_0(PG_FUNCTION_ARGS)
{
	const char *schema = NameStr(*PG_GETARG_NAME(0));
	char	   *object = text_to_cstring(PG_GETARG_TEXT_PP(1));

	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("schema \"%s\" already has %s", schema, object),
			 errdetail("connpool_monitor creates objects with such names. It does not replace "
					   "your object, which could make calls ambiguous."),
			 errhint("Rename or drop %s, or install into a schema of its own: "
					 "CREATE SCHEMA connpool; "
					 "CREATE EXTENSION connpool_monitor SCHEMA connpool CASCADE;", object)));
	PG_RETURN_VOID();
}
