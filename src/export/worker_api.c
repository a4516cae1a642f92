/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker_api.c
 *		The table of functions that the preloaded library publishes for the libraries of
 *		the PgBouncer worker and the HTTP worker.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "base/json.h"
#include "base/settings.h"
#include "base/text_settings.h"
#include "export/documents.h"
#include "export/health_report.h"
#include "export/history_document.h"
#include "export/load_document.h"
#include "export/metrics_text.h"
#include "export/worker_api.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "live/backends.h"
#include "rules/health.h"
#include "samples/pooler_state.h"
#include "samples/worker_status.h"
#include "utils/timestamp.h"

static int
pgbouncer_interval_ms(void)
{
	return cpm_pgbouncer_interval_ms;
}

static const char *
http_token_file(void)
{
	return cpm_http_token_file;
}

/*
 * Return true if a worker can scan the sessions and the server accepts clients. A worker finds the
 * backend status array only after another process has published its address. A server in recovery
 * accepts no clients before hot standby is active.
 */
static bool
is_ready(void)
{
	return cpm_backends_is_published() && (!RecoveryInProgress() || HotStandbyActive());
}

/* Append the health document of a server that is starting, whose sessions cannot be scanned. */
static void
write_starting_health(StringInfo json)
{
	cpm_json_open(json, NULL);
	cpm_json_open(json, "database");
	cpm_json_text(json, "status", cpm_health_name(CPM_UNHEALTHY));
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_text(json, "error", "the database system is starting up");
	cpm_json_close(json);
	cpm_json_open(json, "pool");
	cpm_json_number(json, "active", 0);
	cpm_json_number(json, "total", 0);
	cpm_json_close(json);
	cpm_json_close(json);
}

static bool
write_health(StringInfo json)
{
	StringInfoData health;
	CpmSample	sample;
	CpmHealth	verdict;

	if (!is_ready())
	{
		write_starting_health(json);
		return false;
	}
	initStringInfo(&health);
	verdict = cpm_health_write(&health, &sample);
	appendStringInfo(json, "{\"database\":%s", health.data);
	cpm_json_open(json, "pool");
	cpm_json_number(json, "active", sample.value[CPM_ACTIVE_CONNECTIONS]);
	cpm_json_number(json, "total", sample.value[CPM_TOTAL_CONNECTIONS]);
	cpm_json_close(json);
	cpm_json_close(json);
	return verdict != CPM_UNHEALTHY;
}

static const CpmWorkerApi worker_api = {
	.version = CPM_WORKER_API_VERSION,
	.scan_sessions = cpm_backends_scan,
	.poolers = cpm_settings_poolers,
	.pgbouncer_interval_ms = pgbouncer_interval_ms,
	.worker_started = cpm_worker_started,
	.worker_ended = cpm_worker_ended,
	.worker_report_problem = cpm_worker_report_problem,
	.pooler_record_answer = cpm_pooler_record_answer,
	.pooler_claim_session = cpm_pooler_claim_session,
	.pooler_record_failure = cpm_pooler_record_failure,
	.http_listen = cpm_settings_http_listen,
	.http_token_file = http_token_file,
	.is_ready = is_ready,
	.write_health = write_health,
	.write_metrics = cpm_write_metrics,
	.write_status = cpm_write_status,
	.write_pools = cpm_write_pools,
	.write_alerts = cpm_write_alerts,
	.write_incidents = cpm_write_incidents,
	.write_poolers = cpm_write_poolers,
	.write_history = cpm_write_history,
	.write_load = cpm_write_load,
};

void
cpm_worker_api_publish(void)
{
	*find_rendezvous_variable(CPM_WORKER_API_VARIABLE) = unconstify(CpmWorkerApi *, &worker_api);
}
