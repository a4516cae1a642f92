/* SPDX-License-Identifier: PostgreSQL */
/*
 * poolers_view.c
 *		connpool_pgbouncer, connpool_pgbouncer_pools, connpool_pgbouncer_stats: the answers of
 *		PgBouncer's consoles, under PgBouncer's column names.
 *
 * While a console is down, the views continue to show its last answer; the columns age and
 * last_success show when that was.
 */
#include "postgres.h"

#include <math.h>

#include "base/clock.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "miscadmin.h"
#include "samples/pooler_state.h"
#include "samples/worker_status.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_pgbouncer_1_0);
PG_FUNCTION_INFO_V1(connpool_pgbouncer_pools_1_0);
PG_FUNCTION_INFO_V1(connpool_pgbouncer_stats_1_0);

static void
add_number(CpmRow *row, int64 number)
{
	cpm_row_int8_if(row, number != CPM_POOLER_NULL, number);
}

/*
 * Add an error. Hide it from roles that may not read all settings, because it may name the hosts
 * and users in the setting connpool_monitor.pgbouncer.
 */
static void
add_error(CpmRow *row, const char *error)
{
	if (error[0] != '\0' && !has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS))
		cpm_row_text(row, CPM_HIDDEN_QUERY);
	else
		cpm_row_nonempty_text(row, error);
}

static void
emit_pooler(ReturnSetInfo *result, int pooler, CpmPoolerAnswer *answer)
{
	CpmRow		row = {0};
	CpmPoolerState state = cpm_pooler_state(pooler);
	bool		has_answer = cpm_pooler_answer(pooler, answer);

	cpm_row_text(&row, state.name);
	cpm_row_bool(&row, state.up);
	cpm_row_nonempty_text(&row, has_answer ? answer->version : "");
	cpm_row_past_time(&row, state.last_success);
	/* a console that was never asked has no error of its own */
	if (state.up || state.last_error[0] != '\0' ||
		cpm_worker_status(CPM_WORKER_PGBOUNCER).pid != 0)
		add_error(&row, state.last_error);
	else
		add_error(&row, "the worker connpool_monitor pgbouncer is not running");
	cpm_row_timestamptz(&row, cpm_pooler_retry_at(&state));
	cpm_row_int8(&row, (int64) state.polls);
	cpm_row_nonempty_text(&row, has_answer ? answer->pool_mode : "");
	for (int i = 0; i < CPM_POOLER_SETTINGS; i++)
		add_number(&row, has_answer ? answer->setting[i] : CPM_POOLER_NULL);
	add_number(&row, has_answer ? answer->rows_dropped : CPM_POOLER_NULL);
	cpm_row_emit(&row, result);
}

/*
 * Columns: pooler, up, version, last_success, last_error, retry_at, polls, pool_mode, the
 * settings, rows_dropped.
 */
Datum
connpool_pgbouncer_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_pgbouncer");
	CpmPoolerAnswer *answer = palloc(sizeof(CpmPoolerAnswer));

	for (int i = 0; i < cpm_poolers_count(); i++)
		emit_pooler(result, i, answer);
	return (Datum) 0;
}

/* Return the wait of the client that has waited longest, in milliseconds; NaN if unknown. */
static double
wait_ms(const CpmPoolerPool *pool)
{
	if (pool->number[CPM_MAXWAIT] == CPM_POOLER_NULL)
		return NAN;
	return (double) pool->number[CPM_MAXWAIT] * 1000 +
		(pool->number[CPM_MAXWAIT_US] == CPM_POOLER_NULL ? 0 :
		 (double) pool->number[CPM_MAXWAIT_US] / 1000);
}

/*
 * Columns: pooler, database, role, the numbers of SHOW POOLS, pool_mode, load_balance_hosts,
 * wait_time, age.
 */
Datum
connpool_pgbouncer_pools_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_pgbouncer_pools");
	CpmPoolerAnswer *answer = palloc(sizeof(CpmPoolerAnswer));
	CpmRow		row = {0};

	for (int pooler = 0; pooler < cpm_poolers_count(); pooler++)
	{
		if (!cpm_pooler_answer(pooler, answer))
			continue;
		for (int i = 0; i < answer->pools; i++)
		{
			const CpmPoolerPool *pool = &answer->pool[i];

			cpm_row_text(&row, cpm_pooler_state(pooler).name);
			cpm_row_text(&row, pool->database);
			cpm_row_text(&row, pool->user);
			for (int j = 0; j < CPM_POOL_NUMBERS; j++)
				add_number(&row, pool->number[j]);
			cpm_row_nonempty_text(&row, pool->pool_mode);
			cpm_row_nonempty_text(&row, pool->load_balance_hosts);
			cpm_row_float8(&row, wait_ms(pool));
			cpm_row_age(&row, GetCurrentTimestamp(), cpm_timestamp_of(answer->asked_us));
			cpm_row_emit(&row, result);
		}
	}
	return (Datum) 0;
}

/* Columns: pooler, database, the numbers of SHOW STATS, age. */
Datum
connpool_pgbouncer_stats_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_pgbouncer_stats");
	CpmPoolerAnswer *answer = palloc(sizeof(CpmPoolerAnswer));
	CpmRow		row = {0};

	for (int pooler = 0; pooler < cpm_poolers_count(); pooler++)
	{
		if (!cpm_pooler_answer(pooler, answer))
			continue;
		for (int i = 0; i < answer->stats; i++)
		{
			cpm_row_text(&row, cpm_pooler_state(pooler).name);
			cpm_row_text(&row, answer->stat[i].database);
			for (int j = 0; j < CPM_STAT_NUMBERS; j++)
				add_number(&row, answer->stat[i].number[j]);
			cpm_row_age(&row, GetCurrentTimestamp(), cpm_timestamp_of(answer->asked_us));
			cpm_row_emit(&row, result);
		}
	}
	return (Datum) 0;
}
