/* SPDX-License-Identifier: PostgreSQL */
/*
 * advice_view.c
 *		connpool_pool_advice: the recommended size and pooling mode of each pool.
 *		connpool_session_features: the session features that each pool has used.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/processors.h"
#include "counters/backend_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "live/backends.h"
#include "miscadmin.h"
#include "rules/advice.h"
#include "samples/pooler_state.h"

PG_FUNCTION_INFO_V1(connpool_pool_advice_1_0);
PG_FUNCTION_INFO_V1(connpool_processors_1_0);
PG_FUNCTION_INFO_V1(connpool_session_features_1_0);

/* The last answer of each PgBouncer, and the number of its server connections in each pool. */
typedef struct PooledSessions
{
	int			poolers;
	int		   *sessions;		/* [pool * poolers + pooler] */

	/* by pooler */
	CpmPoolerAnswer *answer;
	bool	   *has_answer;
	char		(*name)[CPM_POOLER_NAME_SIZE];
} PooledSessions;

static void
count_pooled_session(const CpmSession *session, void *arg)
{
	/* freshness only distinguishes direct sessions from unknown ones; neither counts here */
	const CpmPoolersFreshness no_freshness = {0};
	PooledSessions *pooled = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);
	int			pooler;

	if (pool >= 0 && cpm_pooling_of(session, &no_freshness, &pooler) == CPM_POOLING_POOLED)
		pooled->sessions[pool * pooled->poolers + pooler]++;
}

static PooledSessions
gather_pooled_sessions(int pools)
{
	PooledSessions pooled = {.poolers = cpm_poolers_count()};

	if (pooled.poolers == 0)
		return pooled;
	pooled.sessions = palloc0(pools * pooled.poolers * sizeof(int));
	pooled.answer = palloc_extended(pooled.poolers * sizeof(CpmPoolerAnswer), MCXT_ALLOC_HUGE);
	pooled.has_answer = palloc(pooled.poolers * sizeof(bool));
	pooled.name = palloc(pooled.poolers * CPM_POOLER_NAME_SIZE);
	for (int i = 0; i < pooled.poolers; i++)
	{
		pooled.has_answer[i] = cpm_pooler_answer(i, &pooled.answer[i]);
		strlcpy(pooled.name[i], cpm_pooler_state(i).name, CPM_POOLER_NAME_SIZE);
	}
	cpm_backends_scan(CPM_SCAN_STATES, count_pooled_session, &pooled);
	return pooled;
}

/*
 * Set the number of the pool's sessions that are server connections of any PgBouncer, and the
 * PgBouncer that has the most of them; NULL if there are none.
 */
static void
set_pooler(CpmPoolEvidence *evidence, const PooledSessions *pooled, int pool)
{
	int			most = 0;

	evidence->pooled = 0;
	evidence->pooler = NULL;
	evidence->answer = NULL;
	for (int i = 0; i < pooled->poolers; i++)
	{
		int			count = pooled->sessions[pool * pooled->poolers + i];

		evidence->pooled += count;
		if (count <= most)
			continue;
		most = count;
		evidence->pooler = pooled->name[i];
		evidence->answer = pooled->has_answer[i] ? &pooled->answer[i] : NULL;
	}
}

static void
gather_evidence(CpmPoolEvidence *evidence, const CpmPoolSnapshot *snapshot, int index)
{
	evidence->pool = &snapshot->pool[index];
	evidence->is_mixed = index == CPM_OTHER_POOL;
	if (!cpm_pool_busy_copy(index, &evidence->busy))
		memset(&evidence->busy, 0, sizeof(evidence->busy));
}

/*
 * Return how many connections all pools together would have if each had its recommended size. A
 * pool without a recommendation counts with its current connections. Uses evidence and advice as
 * scratch space. Leaves the pooler of the evidence unset, because the size does not depend on it.
 */
static int
total_recommended_size(const CpmPoolSnapshot *snapshot, CpmPoolEvidence *evidence,
					   CpmPoolAdvice *advice)
{
	int			sum = 0;

	for (int i = 0; i < snapshot->slots; i++)
	{
		if (!snapshot->is_used[i])
			continue;
		gather_evidence(evidence, snapshot, i);
		cpm_advise(evidence, advice);
		sum += advice->size > 0 ? advice->size : (int) snapshot->pool[i].connections;
	}
	return sum;
}

static void
add_features(CpmRow *row, unsigned int features)
{
	const char *names[CPM_FEATURES];
	int			count = 0;

	for (int i = 0; i < CPM_FEATURES; i++)
		if (features & (1U << i))
			names[count++] = cpm_feature_name(i);
	cpm_row_text_array(row, names, count);
}

static void
add_reasons(CpmRow *row, const CpmPoolAdvice *advice)
{
	const char *lines[CPM_MAX_REASONS];

	for (int i = 0; i < advice->reasons; i++)
		lines[i] = advice->reason[i];
	cpm_row_text_array(row, lines, advice->reasons);
}

static void
add_pool_name(CpmRow *row, const CpmPoolName *name)
{
	cpm_row_text(row, name->database);
	cpm_row_text(row, name->role);
	cpm_row_text(row, name->application_name);
}

static void
add_busy(CpmRow *row, const CpmPoolEvidence *evidence, const CpmPoolAdvice *advice)
{
	bool		is_known = evidence->busy.samples > 0;

	cpm_row_int4_if(row, is_known, (int32) advice->p50);
	cpm_row_int4_if(row, is_known, (int32) advice->p95);
	cpm_row_int4_if(row, is_known, (int32) advice->p99);
	cpm_row_int4(row, (int32) evidence->pool->peak_busy);
}

static void
emit_pool_advice(ReturnSetInfo *result, const CpmPoolEvidence *evidence,
				 const CpmPoolAdvice *advice)
{
	CpmRow		row = {0};

	add_pool_name(&row, &evidence->pool->name);
	cpm_row_interval(&row, (int64) evidence->busy.observed_tenths * 100);
	cpm_row_int4(&row, (int32) evidence->pool->connections);
	add_busy(&row, evidence, advice);
	cpm_row_int4_if(&row, advice->size != 0, advice->size);
	cpm_row_text(&row, cpm_pool_mode_name(advice->mode));
	add_features(&row, advice->features);
	add_reasons(&row, advice);
	cpm_row_emit(&row, result);
}

/*
 * Return true if the view shows the slot. The slot of "(other)" is always in use, so it is shown
 * only after it has counted a session or a transaction.
 */
static bool
has_row(const CpmPoolSnapshot *snapshot, int index)
{
	const CpmPool *pool = &snapshot->pool[index];

	return snapshot->is_used[index] &&
		(index != CPM_OTHER_POOL || pool->opened > 0 || pool->connections > 0 ||
		 pool->counts.of[CPM_TRANSACTIONS] > 0);
}

/*
 * Columns: database, role, application_name, observed, connections, busy_p50, busy_p95, busy_p99,
 * busy_max, recommended_size, recommended_mode, session_features, reasons.
 */
Datum
connpool_pool_advice_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_pool_advice");
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_NO_HISTOGRAM);
	PooledSessions pooled;
	CpmPoolEvidence *evidence = palloc0(sizeof(CpmPoolEvidence));
	CpmPoolAdvice *advice = palloc(sizeof(CpmPoolAdvice));

	pooled = gather_pooled_sessions(snapshot.slots);
	evidence->processors = cpm_online_processors();
	evidence->usable_slots = MaxConnections - cpm_reserved_slots();
	evidence->recommended_total = total_recommended_size(&snapshot, evidence, advice);
	for (int i = 0; i < snapshot.slots; i++)
	{
		if (!has_row(&snapshot, i))
			continue;
		gather_evidence(evidence, &snapshot, i);
		set_pooler(evidence, &pooled, i);
		cpm_advise(evidence, advice);
		emit_pool_advice(result, evidence, advice);
	}
	return (Datum) 0;
}

/* Columns: database, role, application_name, feature, uses, last_seen. */
Datum
connpool_session_features_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_session_features");
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_NO_HISTOGRAM);
	CpmRow		row = {0};

	for (int i = 0; i < snapshot.slots; i++)
	{
		for (int feature = 0; snapshot.is_used[i] && feature < CPM_FEATURES; feature++)
		{
			if (snapshot.pool[i].feature[feature] == 0)
				continue;
			add_pool_name(&row, &snapshot.pool[i].name);
			cpm_row_text(&row, cpm_feature_name(feature));
			cpm_row_int8(&row, (int64) snapshot.pool[i].feature[feature]);
			cpm_row_past_time(&row, snapshot.pool[i].feature_seen[feature]);
			cpm_row_emit(&row, result);
		}
	}
	return (Datum) 0;
}

/* _connpool_processors(): the number of processors that are online; NULL if it is unknown. */
Datum
connpool_processors_1_0(PG_FUNCTION_ARGS)
{
	int			processors = cpm_online_processors();

	(void) fcinfo;
	if (processors == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(processors);
}
