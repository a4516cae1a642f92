/*
 * pools_view.c
 *		connpool_pools and connpool_session_stats: what each pool's sessions have
 *		done, and all of them.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "serve/access.h"
#include "serve/rows.h"
#include "store/activity.h"
#include "store/periods.h"
#include "store/pool_totals.h"
#include "store/session_counts.h"
#include "store/slots.h"
#include "utils/acl.h"

PG_FUNCTION_INFO_V1(connpool_pools_1_0);
PG_FUNCTION_INFO_V1(connpool_session_stats_1_0);

/* The sessions of a pool by state. */
typedef struct PoolStates
{
	int			active;
	int			idle;
	int			idle_in_transaction;
} PoolStates;

static void
count_state(const CpmSession *session, void *arg)
{
	PoolStates *states = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);

	if (pool < 0)
		return;
	if (cpm_is_active(session))
		states[pool].active++;
	else if (session->state == CPM_STATE_IDLE)
		states[pool].idle++;
	else if (cpm_is_idle_in_transaction(session))
		states[pool].idle_in_transaction++;
}

static uint64
sessions_ended(const CpmPool *pool)
{
	uint64		ended = 0;

	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		ended += pool->ended[i];
	return ended;
}

/* Is there anything to tell of it? A reset leaves pools without sessions empty. */
static bool
is_shown(const CpmPool *pool)
{
	return pool->connections > 0 || pool->opened > 0 || sessions_ended(pool) > 0 ||
		pool->counts.of[CPM_QUERIES] > 0 || pool->counts.of[CPM_TRANSACTIONS] > 0;
}

/* The mean; NaN of none. */
static double
mean(uint64 sum, uint64 count)
{
	return count > 0 ? (double) sum / (double) count : NAN;
}

/* As in pg_stat_activity, states are for who may see the role's sessions. */
static void
add_states(CpmRow *row, const CpmPool *pool, const PoolStates *states)
{
	Oid			role = get_role_oid(pool->name.role, true);

	if (!cpm_may_see_all() && !(OidIsValid(role) && cpm_may_see(role)))
	{
		for (int i = 0; i < 3; i++)
			cpm_row_null(row);
		return;
	}
	cpm_row_int4(row, states->active);
	cpm_row_int4(row, states->idle);
	cpm_row_int4(row, states->idle_in_transaction);
}

static void
add_pool(CpmRow *row, const CpmPool *pool, const PoolStates *states)
{
	const uint64 *counts = pool->counts.of;

	cpm_row_foreign_text(row, pool->name.database);
	cpm_row_foreign_text(row, pool->name.role);
	cpm_row_foreign_text(row, pool->name.application_name);
	cpm_row_int4(row, pool->connections);
	add_states(row, pool, states);
	cpm_row_int4(row, pool->peak_connections);
	cpm_row_int4(row, pool->peak_busy);
	cpm_row_int8(row, pool->opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		cpm_row_int8(row, pool->ended[i]);
	cpm_row_float8(row, mean(pool->session_time_us, sessions_ended(pool)) / USECS_PER_SEC);
	cpm_row_int8(row, counts[CPM_QUERIES]);
	cpm_row_int8(row, counts[CPM_FAILED_QUERIES]);
	cpm_row_int8(row, counts[CPM_TRANSACTIONS]);
	cpm_row_float8(row, mean(counts[CPM_QUERY_TIME_US], counts[CPM_QUERIES]) / 1000);
	cpm_row_float8(row, cpm_histogram_percentile_us(&pool->histogram, 0.95, NAN) / 1000);
	cpm_row_float8(row, (double) counts[CPM_BUSY_TIME_US] / 1000);
	cpm_row_float8(row, mean(pool->setup_time_us, pool->opened) / 1000);
}

/* By pool, as the view of that name lists it; the policy is added there. */
Datum
connpool_pools_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmPoolList list;
	PoolStates *states;
	CpmRow		row = {0};

	cpm_require_view(fcinfo, "connpool_pools");
	cpm_require_preloaded("connpool_pools");
	result = cpm_rows_begin(fcinfo);
	list = cpm_pool_totals();
	states = palloc0(list.places * sizeof(PoolStates));
	cpm_activity_scan(false, count_state, states);
	for (int i = 0; i < list.places; i++)
	{
		if (!list.is_used[i] || !is_shown(&list.pool[i]))
			continue;
		add_pool(&row, &list.pool[i], &states[i]);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

static void
add_percentiles(CpmRow *row, const CpmHistogram *histogram, double us_per_unit)
{
	cpm_row_float8(row, cpm_histogram_percentile_us(histogram, 0.50, NAN) / us_per_unit);
	cpm_row_float8(row, cpm_histogram_percentile_us(histogram, 0.95, NAN) / us_per_unit);
	cpm_row_float8(row, cpm_histogram_percentile_us(histogram, 0.99, NAN) / us_per_unit);
}

/*
 * since, connections, opened, closed, abandoned, failed, killed, then the
 * percentiles of setup_time (ms) and of session_seconds
 */
Datum
connpool_session_stats_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmPoolList list;
	CpmPool		sum = {0};
	CpmHistogram *setup = palloc(sizeof(CpmHistogram));
	CpmHistogram *duration = palloc(sizeof(CpmHistogram));
	CpmRow		row = {0};

	cpm_require_view(fcinfo, "connpool_session_stats");
	cpm_require_preloaded("connpool_session_stats");
	result = cpm_rows_begin(fcinfo);
	list = cpm_pool_totals();
	for (int i = 0; i < list.places; i++)
	{
		if (!list.is_used[i])
			continue;
		sum.connections += list.pool[i].connections;
		sum.opened += list.pool[i].opened;
		for (int j = 0; j < CPM_SESSION_ENDS; j++)
			sum.ended[j] += list.pool[i].ended[j];
	}
	cpm_row_timestamptz(&row, cpm_periods_reset_at());
	cpm_row_int4(&row, sum.connections);
	cpm_row_int8(&row, sum.opened);
	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		cpm_row_int8(&row, sum.ended[i]);
	cpm_session_histograms(setup, duration);
	add_percentiles(&row, setup, 1000);
	add_percentiles(&row, duration, USECS_PER_SEC);
	cpm_row_emit(&row, result);
	return (Datum) 0;
}
