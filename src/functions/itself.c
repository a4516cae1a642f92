/* SPDX-License-Identifier: PostgreSQL */
/*
 * itself.c
 *		connpool_info(): how the monitor itself is doing; connpool_reset(); and the
 *		check that CREATE EXTENSION makes before it creates anything.
 */
#include "postgres.h"

#include <math.h>

#include "base/compat.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/version.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "events/rejections.h"
#include "events/slow_statements.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "samples/alert_state.h"
#include "samples/notify_queue.h"
#include "samples/pooler_state.h"
#include "samples/rollups.h"
#include "samples/sample_ring.h"
#include "samples/worker_status.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_info_1_0);
PG_FUNCTION_INFO_V1(connpool_reset_1_0);
PG_FUNCTION_INFO_V1(connpool_install_check_1_0);

static void
pg_attribute_printf(2, 3)
add_problem(StringInfo problems, const char *format,...)
{
	va_list		arguments;
	char		problem[1024];

	va_start(arguments, format);
	vsnprintf(problem, sizeof(problem), format, arguments);
	va_end(arguments);
	appendStringInfo(problems, "%s%s", problems->len > 0 ? "; " : "", problem);
}

/* Add those of workers that run only when a setting asks for them. */
static void
add_problems_of_workers(StringInfo problems)
{
	CpmWorkerStatus http = cpm_worker_status(CPM_WORKER_HTTP);
	bool		wants_http = cpm_settings_http_listen()->host[0] != '\0';

	if (wants_http && http.pid == 0)
		add_problem(problems, "the worker of HTTP is not running: if this stays, raise max_worker_processes and restart, or see the server log");
	else if (wants_http && http.problem[0] != '\0')
		add_problem(problems, "no HTTP: %s", http.problem);
	if (cpm_settings_poolers()->count > 0 && cpm_worker_status(CPM_WORKER_PGBOUNCER).pid == 0)
		add_problem(problems, "the worker that asks PgBouncer is not running: if this stays, raise max_worker_processes and restart, or see the server log");
}

static void
add_problem_of_sampler(StringInfo problems, const CpmWorkerStatus *sampler)
{
	if (sampler->pid != 0)
	{
		if (cpm_sampler_is_stale(sampler))
			add_problem(problems, "the sampler has taken no sample for ten intervals");
	}
	else if (sampler->rounds > 0)
		add_problem(problems, "the sampler is not running: see the server log");
	else
		add_problem(problems, "the sampler has not started: if this stays, raise max_worker_processes and restart");
}

/* Return everything that an administrator should mend, the most urgent first; NULL for nothing. */
static const char *
problems_of(const CpmWorkerStatus *sampler, const CpmWorkerStatus *saver)
{
	StringInfoData problems;

	if (!cpm_is_preloaded())
		return "connpool_monitor is not in shared_preload_libraries: no history, no alerts";
	initStringInfo(&problems);
	add_problem_of_sampler(&problems, sampler);
	if (saver->pid == 0)
		add_problem(&problems, "the saver is not running, a crash would lose all: if this stays, raise max_worker_processes and restart");
	if (cpm_notifications_are_failing())
		add_problem(&problems, "NOTIFY fails: is notify_database there, and a slot of max_worker_processes free? See the server log");
	add_problems_of_workers(&problems);
	return problems.len > 0 ? problems.data : NULL;
}

Datum
connpool_info_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_rows_begin(fcinfo);
	CpmWorkerStatus sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	CpmWorkerStatus saver = cpm_worker_status(CPM_WORKER_SAVER);
	bool		has_sampled = sampler.last_round != 0;
	CpmRow		row = {0};

	cpm_row_text(&row, CPM_VERSION);
	cpm_row_bool(&row, cpm_is_preloaded());
	cpm_row_bool(&row, sampler.pid != 0);
	cpm_row_timestamptz(&row, sampler.last_round);
	cpm_row_float8(&row, has_sampled ? sampler.cost_ms : NAN);
	cpm_row_int8(&row, sampler.rounds);
	cpm_row_int8(&row, sampler.missed);
	cpm_row_int8(&row, cpm_shmem_total_size());

	cpm_row_bool(&row, cpm_is_preloaded() && cpm_rejections_are_logged());	/* refusals_counted */
	cpm_row_bool(&row, cpm_is_preloaded() && cpm_errors_are_logged());	/* failures_exact */
	cpm_row_int4(&row, cpm_pools_used());
	cpm_row_int8(&row, cpm_pools_evicted());
	cpm_row_int8(&row, cpm_notifications_dropped());
	cpm_row_timestamptz(&row, cpm_stat_windows_reset_at()); /* stats_reset */
	cpm_row_timestamptz(&row, saver.last_round);
	cpm_row_text(&row, saver.problem[0] != '\0' ? saver.problem : NULL);
	cpm_row_text(&row, problems_of(&sampler, &saver));
	cpm_row_emit(&row, result);
	return (Datum) 0;
}

static void
reset_counters(void)
{
	TimestampTz now = GetCurrentTimestamp();

	/* one reset at a time, and no pool evicted in the middle of it */
	LWLockAcquire(cpm_pools_lock(), LW_EXCLUSIVE);
	cpm_rejections_reset();
	cpm_errors_reset();
	cpm_slow_statements_reset();
	cpm_pools_reset_baselines();
	cpm_pool_busy_reset();
	cpm_leak_log_reset();
	cpm_session_counters_reset();
	cpm_monotonic_reset();
	cpm_stat_windows_reset(now);
	LWLockRelease(cpm_pools_lock());
}

/* connpool_reset(what text): counters, history, alerts or all start anew. */
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
				 errmsg("\"%s\" is nothing that can be reset", what),
				 errhint("Reset \"counters\", \"history\", \"alerts\" or \"all\".")));
	if (counters)
		reset_counters();
	if (history)
	{
		cpm_sample_ring_reset();
		cpm_rollups_reset();
	}
	if (alerts)
		cpm_alerts_reset();
	cpm_worker_request(CPM_WORKER_SAVER);
	PG_RETURN_VOID();
}

static void
refuse_schema(const char *schema, const char *object)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("schema \"%s\" already has %s", schema, object),
			 errdetail("connpool_monitor would create it too, and does not replace yours."),
			 errhint("Install into a schema of its own: CREATE SCHEMA connpool; CREATE EXTENSION connpool_monitor SCHEMA connpool CASCADE;")));
}

/* Fails when the schema of the extension has an object that users may have made. */
Datum
connpool_install_check_1_0(PG_FUNCTION_ARGS)
{
	Oid			schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	const char *schema_name = get_namespace_name(schema);
	List	   *function = list_make2(makeString(pstrdup(schema_name)),
									  makeString(pstrdup("get_connection_stats")));

	if (OidIsValid(LookupFuncName(function, 0, NULL, true)))
		refuse_schema(schema_name, "a function get_connection_stats()");
	if (OidIsValid(get_relname_relid("slow_queries", schema)))
		refuse_schema(schema_name, "a relation slow_queries");
	PG_RETURN_VOID();
}
