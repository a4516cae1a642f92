/* SPDX-License-Identifier: PostgreSQL */
/*
 * pools_view.c
 *		connpool_pools: the counters of each pool. connpool_session_stats: totals of sessions.
 *		_connpool_application(): the application of the pool of a session.
 */
#include "postgres.h"

#include <math.h>

#include "base/histogram.h"
#include "base/pool.h"
#include "base/session.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "counters/backend_counters.h"
#include "counters/pool_snapshot.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "live/backends.h"
#include "rules/policy.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_pools_1_0);
PG_FUNCTION_INFO_V1(connpool_session_stats_1_0);
PG_FUNCTION_INFO_V1(connpool_application_1_0);

/* The number of a pool's sessions in each state, and the violations of all its sessions. */
typedef struct PoolStates
{
	int			active;
	int			idle;
	int			idle_in_transaction;
	unsigned int violations;	/* bits 1 << CpmViolation */
} PoolStates;

typedef struct StateCounting
{
	TimestampTz now;
	PoolStates *by_pool;
} StateCounting;

static void
count_state(const CpmSession *session, void *arg)
{
	StateCounting *counting = arg;
	CpmSlotSession slot;
	PoolStates *states;

	if (!cpm_slot_session(session->proc_number, &slot) || slot.pid != session->pid ||
		slot.pool < 0)
		return;
	states = &counting->by_pool[slot.pool];
	if (cpm_is_active(session))
		states->active++;
	else if (session->state == CPM_STATE_IDLE)
		states->idle++;
	else if (cpm_is_idle_in_transaction(session))
		states->idle_in_transaction++;
	states->violations |= cpm_session_violations(&slot, session, counting->now);
}

static uint64
sessions_ended(const CpmPool *pool)
{
	uint64		ended = 0;

	for (int i = 0; i < CPM_SESSION_ENDS; i++)
		ended += pool->ended[i];
	return ended;
}

/* Return sum / count; NaN if count is 0. */
static double
mean(uint64 sum, uint64 count)
{
	return count > 0 ? (double) sum / (double) count : NAN;
}

/* Add the limits in the order of CpmLimit (NULL: unset), then the names of the violations. */
static void
add_policy(CpmRow *row, const CpmPolicy *policy, unsigned int violations)
{
	static const bool is_time[CPM_LIMITS] = {
		[CPM_POOL_IDLE_TIMEOUT] = true,
		[CPM_POOL_MAX_LIFETIME] = true,
		[CPM_POOL_CONNECTION_TIMEOUT] = true,
	};

	for (int i = 0; i < CPM_LIMITS; i++)
	{
		if (is_time[i] && policy->limit[i] != 0)
			cpm_row_interval(row, policy->limit[i]);
		else
			cpm_row_int4_if(row, policy->limit[i] != 0, policy->limit[i]);
	}
	cpm_row_violations(row, violations);
}

/*
 * Return the violations of pool_max and pool_min, as bits 1 << CpmViolation. These limits apply to
 * all pools of a role in a database together. Once the role or the database has been dropped, a
 * pool without connections violates neither.
 */
static unsigned int
violations_of_pool(const CpmPool *pool)
{
	const int  *limit = pool->policy.limit;
	int			role_connections;

	if (limit[CPM_POOL_MAX] == 0 && limit[CPM_POOL_MIN] == 0)
		return 0;
	if (pool->connections == 0 && (!OidIsValid(get_role_oid(pool->name.role, true)) ||
								   !OidIsValid(get_database_oid(pool->name.database, true))))
		return 0;
	/* the slots lack sessions that have ended since the snapshot was taken */
	role_connections = cpm_slot_sessions_of_policy(cpm_policy_key(&pool->name));
	role_connections = Max((int) pool->connections, role_connections);
	return cpm_pool_violations(&pool->policy, (int) pool->connections, role_connections);
}

static void
add_pool(CpmRow *row, const CpmPool *pool, const CpmHistogram *histogram, const PoolStates *states)
{
	const uint64 *counts = pool->counts.of;

	/* whether the caller may see the states of the pool's sessions, as in pg_stat_activity */
	bool		visible = cpm_may_see(pool->role_oid);

	cpm_row_text(row, pool->name.database);
	cpm_row_text(row, pool->name.role);
	cpm_row_text(row, pool->name.application_name);
	cpm_row_int4(row, pool->connections);
	cpm_row_int4_if(row, visible, states->active);
	cpm_row_int4_if(row, visible, states->idle);
	cpm_row_int4_if(row, visible, states->idle_in_transaction);
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
	cpm_row_float8(row, cpm_histogram_percentile_us(histogram, 0.95, NAN) / 1000);
	cpm_row_float8(row, (double) counts[CPM_BUSY_TIME_US] / 1000);
	add_policy(row, &pool->policy, violations_of_pool(pool) | (visible ? states->violations : 0));
	cpm_row_float8(row, mean(pool->setup_time_us, pool->opened) / 1000);
	cpm_row_oid(row, get_database_oid(pool->name.database, true));
	cpm_row_oid(row, get_role_oid(pool->name.role, true));
}

/*
 * Return true if the view shows the pool. The view omits a pool that has no sessions, and has
 * counted no session, statement or transaction since the reset, unless it violates pool_min.
 */
static bool
is_shown(const CpmPool *pool)
{
	return pool->connections > 0 || pool->opened > 0 || sessions_ended(pool) > 0 ||
		pool->counts.of[CPM_QUERIES] > 0 || pool->counts.of[CPM_TRANSACTIONS] > 0 ||
		violations_of_pool(pool) != 0;
}

Datum
connpool_pools_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_pools");
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_HISTOGRAM_OF_EACH_POOL);
	StateCounting counting = {.now = GetCurrentTimestamp()};
	CpmRow		row = {0};

	counting.by_pool = palloc0(snapshot.slots * sizeof(PoolStates));
	cpm_backends_scan(CPM_SCAN_STATES, count_state, &counting);
	for (int i = 0; i < snapshot.slots; i++)
	{
		if (!snapshot.is_used[i] || !is_shown(&snapshot.pool[i]))
			continue;
		add_pool(&row, &snapshot.pool[i], &snapshot.histogram[i], &counting.by_pool[i]);
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
 * Columns: since, connections, the numbers of sessions opened, closed, abandoned, failed and
 * killed, then percentiles of the setup time (milliseconds) and of the duration (seconds).
 */
Datum
connpool_session_stats_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_session_stats");
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_NO_HISTOGRAM);
	CpmPool		sum = {0};
	CpmHistogram *setup = palloc(sizeof(CpmHistogram));
	CpmHistogram *duration = palloc(sizeof(CpmHistogram));
	CpmRow		row = {0};

	for (int i = 0; i < snapshot.slots; i++)
	{
		if (!snapshot.is_used[i])
			continue;
		sum.connections += snapshot.pool[i].connections;
		sum.opened += snapshot.pool[i].opened;
		for (int j = 0; j < CPM_SESSION_ENDS; j++)
			sum.ended[j] += snapshot.pool[i].ended[j];
	}
	cpm_row_past_time(&row, cpm_stat_windows_reset_at());
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

/*
 * _connpool_application(application_name text): the application of the pool to which sessions with
 * that name belong.
 */
Datum
connpool_application_1_0(PG_FUNCTION_ARGS)
{
	char		pool[NAMEDATALEN];

	cpm_pool_application(pool, text_to_cstring(PG_GETARG_TEXT_PP(0)), cpm_application_grouping);
	PG_RETURN_TEXT_P(cstring_to_text(pool));
}
