/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler.c
 *		PgBouncer's names for the numbers that its console shows, and the pools of an answer.
 */
#include "postgres.h"

#include "base/pooler.h"

const char *const cpm_pool_number_names[CPM_POOL_NUMBERS] = {
	"cl_active", "cl_waiting", "cl_cancel_req", "cl_active_cancel_req", "cl_waiting_cancel_req",
	"sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used", "sv_tested",
	"sv_login", "maxwait", "maxwait_us",
};

const char *const cpm_stat_number_names[CPM_STAT_NUMBERS] = {
	"total_server_assignment_count", "total_xact_count", "total_query_count", "total_received",
	"total_sent", "total_xact_time", "total_query_time", "total_wait_time",
	"total_client_parse_count", "total_server_parse_count", "total_bind_count",
	"total_client_login_count",
	"avg_server_assignment_count", "avg_xact_count", "avg_query_count", "avg_recv", "avg_sent",
	"avg_xact_time", "avg_query_time", "avg_wait_time",
	"avg_client_parse_count", "avg_server_parse_count", "avg_bind_count",
	"avg_client_login_count",
};

const char *const cpm_pooler_setting_names[CPM_POOLER_SETTINGS] = {
	"default_pool_size", "min_pool_size", "reserve_pool_size", "max_client_conn",
	"max_db_connections", "query_wait_timeout", "server_idle_timeout", "server_lifetime",
	"max_prepared_statements",
};

CpmPoolerPool *
cpm_pooler_pool_named(CpmPoolerAnswer *answer, const char *database, const char *user)
{
	for (int i = 0; i < answer->pools; i++)
		if (strcmp(answer->pool[i].database, database) == 0 &&
			strcmp(answer->pool[i].user, user) == 0)
			return &answer->pool[i];
	return NULL;
}

/*
 * Add the numbers of a pool, any of which may be CPM_POOLER_NULL. The last two, seconds and
 * microseconds, are not added: together they are one duration, the longest wait of a client. Keep
 * the longer wait of the two pools.
 */
static void
merge_pool(CpmPoolerPool *into, const CpmPoolerPool *pool)
{
	for (int i = 0; i < CPM_MAXWAIT; i++)
		if (pool->number[i] != CPM_POOLER_NULL)
			into->number[i] = Max(into->number[i], 0) + pool->number[i];
	if (pool->number[CPM_MAXWAIT] > into->number[CPM_MAXWAIT] ||
		(pool->number[CPM_MAXWAIT] == into->number[CPM_MAXWAIT] &&
		 pool->number[CPM_MAXWAIT_US] > into->number[CPM_MAXWAIT_US]))
		memcpy(&into->number[CPM_MAXWAIT], &pool->number[CPM_MAXWAIT], 2 * sizeof(int64));
}

void
cpm_pooler_add_pool(CpmPoolerAnswer *answer, const CpmPoolerPool *pool)
{
	CpmPoolerPool *into = cpm_pooler_pool_named(answer, pool->database, pool->user);

	if (into != NULL)
		merge_pool(into, pool);
	else
		answer->pool[answer->pools++] = *pool;
}
