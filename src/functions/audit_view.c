/* SPDX-License-Identifier: PostgreSQL */
/*
 * audit_view.c
 *		connpool_audit(): gathers the evidence for the audit and returns its findings.
 *
 * One practice concerns the timeouts that a new session of a role in a database would have. A
 * query through SPI, with the caller's privileges, reads them from the catalogs.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/metric_settings.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/sqlstates.h"
#include "catalog/pg_type.h"
#include "counters/pool_snapshot.h"
#include "counters/stat_windows.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/candidates_view.h"
#include "functions/rows.h"
#include "rules/audit.h"
#include "rules/catalogue.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_audit_1_0);

static void
gather_pools(CpmAuditEvidence *evidence, const CpmPoolSnapshot *list)
{
	for (int i = 0; i < list->slots; i++)
	{
		const CpmPool *pool = &list->pool[i];

		if (!list->is_used[i])
			continue;
		evidence->sessions_opened += pool->opened;
		evidence->transactions += pool->counts.of[CPM_TRANSACTIONS];
		evidence->sessions_abandoned += pool->ended[CPM_SESSION_ABANDONED];
		for (int end = 0; end < CPM_SESSION_ENDS; end++)
			evidence->sessions_ended += pool->ended[end];
		if (!cpm_pool_churns(pool))
			continue;
		evidence->churning++;
		if (evidence->worst == NULL || pool->opened > evidence->worst->opened)
			evidence->worst = pool;
	}
}

/* Append text to a list of CPM_AUDIT_LIST_SIZE bytes. A list that is too long is truncated. */
static void
append_finding(char *list, const char *separator, const char *text)
{
	if (list[0] != '\0')
		strlcat(list, separator, CPM_AUDIT_LIST_SIZE);
	strlcat(list, text, CPM_AUDIT_LIST_SIZE);
}

/*
 * Return the timeout that raises this SQLSTATE when it expires; -1 if none does. Cancel requests
 * and NOWAIT raise two of these SQLSTATEs too, so their count is an upper bound.
 */
static int
timeout_by_sqlstate(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_QUERY_CANCELED:
			return CPM_STATEMENT_TIMEOUT;
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return CPM_LOCK_TIMEOUT;
		case ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT:
			return CPM_IDLE_IN_TRANSACTION_TIMEOUT;
		case ERRCODE_IDLE_SESSION_TIMEOUT:
			return CPM_IDLE_SESSION_TIMEOUT;
		default:
			return -1;
	}
}

static void
gather_errors(CpmAuditEvidence *evidence)
{
	for (int i = 0; i < CPM_ERROR_CODES; i++)
	{
		CpmErrorCount count = cpm_errors_get(i);
		const char *sqlstate = unpack_sql_state(count.sqlstate);
		int			timeout = timeout_by_sqlstate(count.sqlstate);

		if (count.errors == 0)
			continue;
		if (timeout >= 0)
			evidence->timeouts_fired[timeout] = count.errors;
		if (!cpm_is_retryable(sqlstate))
			continue;
		evidence->retryable += count.errors;
		append_finding(evidence->retryable_kinds, ", ",
					   psprintf("%s %s " UINT64_FORMAT " times", sqlstate,
								cpm_condition_name(sqlstate) ? cpm_condition_name(sqlstate) : "",
								count.errors));
	}
}

static void
gather_monitoring(CpmAuditEvidence *evidence)
{
	CpmWorkerStatus sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	CpmSample	sample;
	CpmVerdict	rate;

	cpm_sample_take(&sample, NULL);
	rate = cpm_evaluate_metric(CPM_CONNECTIONS_PER_SECOND, &sample,
							   cpm_settings_thresholds(CPM_CONNECTIONS_PER_SECOND));
	evidence->is_sampling = sampler.pid != 0 && !cpm_sampler_is_stale(&sampler);
	evidence->samples = sampler.rounds;
	evidence->pooled = sample.pooled_connections;
	evidence->direct = sample.value[CPM_DIRECT_CONNECTIONS];
	evidence->samples_missed = sampler.missed;
	evidence->tracks_queries = cpm_statement_settings.track_queries;
	evidence->failures_exact = cpm_errors_are_logged();
	evidence->opens_too_fast = rate.status != CPM_OK;
	for (int i = 0; i < CPM_METRICS; i++)
	{
		CpmThresholds thresholds = cpm_settings_thresholds(i);

		if (!cpm_metric_exists(&cpm_catalogue[i], sample.sources))
			continue;
		evidence->metrics++;
		evidence->alerting += !cpm_settings_is_silent(i) &&
			(thresholds.warning >= 0 || thresholds.critical >= 0);
	}
}

static void
gather_leaks(CpmAuditEvidence *evidence)
{
	for (CpmLeakKind kind = CPM_NO_LEAK + 1; kind < CPM_LEAK_KINDS; kind++)
	{
		evidence->leaks[kind] = cpm_leak_counts(kind);
		evidence->suspects += cpm_open_leaks(kind);
	}
}

/*
 * $1 and $2 are the roles and databases of the pools, as arrays of equal length; $3 is the names
 * of the settings.
 *
 * Returns one row for each pair of role and database: the text "role in database", and a boolean
 * for each setting, true if it is set. Omits superusers, because they can change any setting.
 *
 * The most specific entry of pg_db_role_setting applies: first that of the role in the database,
 * then those of the role, of the database and of all roles. Without an entry, the server's value
 * applies. The query cannot see that value, and takes it for 0, if such an entry or the startup
 * packet has overridden it for the caller's own session. A keepalive setting at its default counts
 * as unset, because the operating system then decides.
 */
static const char timeouts_query[] =
"SELECT quote_ident(r.rolname) || ' in ' || quote_ident(d.datname),"
"       array_agg(COALESCE(own.value, server.value, '0') !~ '^0+[a-z]*$' ORDER BY w.position)"
"  FROM (SELECT DISTINCT u.role, u.database FROM unnest($1, $2) AS u(role, database)) p"
"  JOIN pg_roles r ON r.rolname = p.role AND NOT r.rolsuper"
"  JOIN pg_database d ON d.datname = p.database"
"  CROSS JOIN unnest($3) WITH ORDINALITY AS w(name, position)"
"  LEFT JOIN LATERAL (SELECT substr(c, length(w.name) + 2) AS value"
"      FROM pg_db_role_setting s, unnest(s.setconfig) AS c"
"      WHERE s.setdatabase IN (0, d.oid) AND s.setrole IN (0, r.oid)"
"        AND starts_with(c, w.name || '=')"
"      ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1) own ON true"
"  LEFT JOIN LATERAL (SELECT g.reset_val AS value FROM pg_settings g"
"      WHERE g.name = w.name"
"        AND g.source NOT IN ('global', 'database', 'user', 'database user', 'client')"
"        AND NOT (g.source = 'default' AND g.name LIKE 'tcp%')) server ON true"
"  GROUP BY r.rolname, d.datname ORDER BY r.rolname, d.datname";

static Datum
text_array(Datum *elements, int count)
{
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Set the three arguments of timeouts_query, for the pools that have had sessions. */
static void
set_timeouts_arguments(const CpmPoolSnapshot *list, Datum *arguments)
{
	Datum	   *roles = palloc(list->slots * sizeof(Datum));
	Datum	   *databases = palloc(list->slots * sizeof(Datum));
	Datum		settings[CPM_TIMEOUTS];
	int			count = 0;

	for (int i = 0; i < list->slots; i++)
	{
		if (!list->is_used[i] || (list->pool[i].opened == 0 && list->pool[i].connections == 0))
			continue;
		roles[count] = CStringGetTextDatum(list->pool[i].name.role);
		databases[count++] = CStringGetTextDatum(list->pool[i].name.database);
	}
	for (int i = 0; i < CPM_TIMEOUTS; i++)
		settings[i] = CStringGetTextDatum(cpm_timeout_setting(i));
	arguments[0] = text_array(roles, count);
	arguments[1] = text_array(databases, count);
	arguments[2] = text_array(settings, CPM_TIMEOUTS);
}

static void
record_timeouts(CpmAuditEvidence *evidence, HeapTuple tuple, TupleDesc description)
{
	bool		isnull;
	ArrayType  *array = DatumGetArrayTypeP(SPI_getbinval(tuple, description, 2, &isnull));
	const bool *is_set = (const bool *) ARR_DATA_PTR(array);
	bool		lacks_one = false;

	evidence->role_databases++;
	for (int i = 0; i < CPM_TIMEOUTS; i++)
	{
		evidence->has_timeout[i] += is_set[i];
		/* the enum begins with the timeouts that the practice requires */
		lacks_one |= i <= CPM_IDLE_IN_TRANSACTION_TIMEOUT && !is_set[i];
	}
	if (lacks_one)
		append_finding(evidence->without, ", ", SPI_getvalue(tuple, description, 1));
}

static void
gather_timeouts(CpmAuditEvidence *evidence, const CpmPoolSnapshot *list)
{
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		arguments[3];

	set_timeouts_arguments(list, arguments);
	if (SPI_execute_with_args(timeouts_query, lengthof(types), types, arguments, NULL, true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "connpool_monitor: could not read the settings of roles");
	for (uint64 i = 0; i < SPI_processed; i++)
		record_timeouts(evidence, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
}

/*
 * Gather the evidence from pg_stat_statements and from the catalogs. timeouts_query does not
 * qualify its names, so set search_path while it runs: otherwise a user's objects could stand in
 * for PostgreSQL's.
 */
static void
gather_statements_and_timeouts(CpmAuditEvidence *evidence, const CpmPoolSnapshot *list)
{
	int			level;

	evidence->batch_candidates = cpm_count_batch_candidates(&evidence->batch_ms);
	evidence->cache_candidates = cpm_count_cache_candidates(&evidence->cache_ms);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	gather_timeouts(evidence, list);
	SPI_finish();
	AtEOXact_GUC(false, level);
}

/* Columns: practice, status, evidence, advice. */
Datum
connpool_audit_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmAuditEvidence *evidence = palloc0(sizeof(CpmAuditEvidence));
	CpmAuditFinding *finding = palloc(sizeof(CpmAuditFinding));
	CpmPoolSnapshot list;
	CpmRow		row = {0};

	cpm_require_preloaded("connpool_audit()");
	result = cpm_rows_begin(fcinfo);
	list = cpm_pool_snapshot();
	evidence->seconds = (double) Max(GetCurrentTimestamp() - cpm_stat_windows_reset_at(), 0) /
		USECS_PER_SEC;
	gather_pools(evidence, &list);
	gather_errors(evidence);
	gather_monitoring(evidence);
	gather_leaks(evidence);
	gather_statements_and_timeouts(evidence, &list);
	for (int i = 0; i < CPM_PRACTICES; i++)
	{
		cpm_audit(i, evidence, finding);
		cpm_row_text(&row, cpm_practice_name(i));
		cpm_row_text(&row, cpm_audit_status_name(finding->status));
		cpm_row_text(&row, finding->evidence);
		if (finding->advice[0] == '\0')
			cpm_row_null(&row);
		else
			cpm_row_text(&row, finding->advice);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}
