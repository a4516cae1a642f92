/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler.c
 *		PgBouncer's names for the numbers that its console shows.
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
