/* SPDX-License-Identifier: PostgreSQL */
/*
 * documents.c
 *		JSON documents for the HTTP page: the server's state, its pools, its alerts, its
 *		incidents and its PgBouncers.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/json.h"
#include "base/metric_settings.h"
#include "base/rejection.h"
#include "base/session.h"
#include "base/settings.h"
#include "base/text_settings.h"
#include "base/version.h"
#include "counters/backend_counters.h"
#include "counters/pool_snapshot.h"
#include "counters/pool_table.h"
#include "counters/stat_windows.h"
#include "events/rejections.h"
#include "export/documents.h"
#include "export/health_report.h"
#include "live/backends.h"
#include "miscadmin.h"
#include "rules/catalogue.h"
#include "rules/incidents.h"
#include "samples/alert_state.h"
#include "samples/incidents.h"
#include "samples/pooler_state.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "utils/timestamp.h"

#define MAX_POOLS 100			/* pools in a document; its field "all" counts every used pool */
#define MAX_LOG_ENTRIES 200		/* of the alert log, the newest */

/* A pool and the states of its sessions. */
typedef struct PoolRow
{
	const CpmPool *pool;		/* NULL: no pool to show */
	int			active;
	int			idle;
	int			idle_in_transaction;
} PoolRow;

typedef struct PoolRows
{
	int			slots;
	PoolRow    *row;			/* by slot of counters/pool_table, until they are sorted */
} PoolRows;

static double
ratio(double sum, double count)
{
	return count > 0 ? sum / count : NAN;
}

static void
write_window(StringInfo json, const char *key, CpmStatWindow window)
{
	CpmStatWindowCounts *stats = palloc(sizeof(CpmStatWindowCounts));
	const CpmHistogram *histogram = &stats->histogram;
	double		total;
	double		max_us;

	cpm_stat_window_read(window, stats);
	total = (double) cpm_histogram_total(histogram);
	max_us = stats->max_us > 0 ? (double) stats->max_us : NAN;
	cpm_json_open(json, key);
	cpm_json_number(json, "total", total);
	cpm_json_number(json, "failed", Min((double) stats->counts.of[CPM_FAILED_QUERIES], total));
	cpm_json_number(json, "slow", (double) stats->counts.of[CPM_SLOW_QUERIES]);
	cpm_json_number(json, "meanMs",
					ratio((double) stats->counts.of[CPM_QUERY_TIME_US] / 1000, total));
	cpm_json_number(json, "p50Ms", cpm_histogram_percentile_us(histogram, 0.50, max_us) / 1000);
	cpm_json_number(json, "p95Ms", cpm_histogram_percentile_us(histogram, 0.95, max_us) / 1000);
	cpm_json_number(json, "p99Ms", cpm_histogram_percentile_us(histogram, 0.99, max_us) / 1000);
	cpm_json_number(json, "maxMs", total > 0 ? max_us / 1000 : NAN);
	cpm_json_close(json);
	pfree(stats);
}

static void
write_connections_json(StringInfo json, const CpmSample *sample)
{
	double		total = sample->value[CPM_TOTAL_CONNECTIONS];
	double		active = sample->value[CPM_ACTIVE_CONNECTIONS];
	double		idle = sample->value[CPM_IDLE_CONNECTIONS];
	double		idle_in_transaction = sample->value[CPM_IDLE_IN_TRANSACTION];

	cpm_json_open(json, "connections");
	cpm_json_number(json, "total", total);
	cpm_json_number(json, "active", active);
	cpm_json_number(json, "idle", idle);
	cpm_json_number(json, "idleInTransaction", idle_in_transaction);
	cpm_json_number(json, "other", total - active - idle - idle_in_transaction);
	cpm_json_number(json, "max", sample->max_connections);
	cpm_json_number(json, "usable", sample->usable_slots);
	cpm_json_number(json, "reserved", sample->max_connections - sample->usable_slots);
	cpm_json_number(json, "pooled", sample->pooled_connections);
	cpm_json_close(json);
}

static void
write_sessions_json(StringInfo json)
{
	static const char *const names[CPM_SESSION_ENDS] = {"closed", "abandoned", "failed", "killed"};
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_NO_HISTOGRAM);
	uint64		opened = 0;
	uint64		ended[CPM_SESSION_ENDS] = {0};

	for (int i = 0; i < snapshot.slots; i++)
	{
		if (!snapshot.is_used[i])
			continue;
		opened += snapshot.pool[i].opened;
		for (int end = 0; end < CPM_SESSION_ENDS; end++)
			ended[end] += snapshot.pool[i].ended[end];
	}
	cpm_json_open(json, "sessions");
	cpm_json_number(json, "opened", (double) opened);
	for (int end = 0; end < CPM_SESSION_ENDS; end++)
		cpm_json_number(json, names[end], (double) ended[end]);
	cpm_json_close(json);
}

static void
write_refusals(StringInfo json)
{
	cpm_json_open_array(json, "refusals");
	for (int i = 0; i < CPM_REJECTIONS; i++)
	{
		CpmRejectionCount count = cpm_rejections_count(i);

		cpm_json_open(json, NULL);
		cpm_json_text(json, "reason", cpm_rejection_name(i));
		cpm_json_number(json, "count", (double) count.count);
		cpm_json_past_time(json, "lastSeen", count.last_seen);
		cpm_json_close(json);
	}
	cpm_json_close_array(json);
}

static void
write_sampler_json(StringInfo json, const CpmWorkerStatus *sampler, TimestampTz now)
{
	bool		has_sampled = sampler->last_round != 0;

	cpm_json_open(json, "sampler");
	cpm_json_bool(json, "running", sampler->pid != 0);
	cpm_json_number(json, "intervalMs", cpm_sample_interval_ms);
	cpm_json_number(json, "lastSampleAgeMs",
					cpm_last_round_age_ms(sampler, now));
	cpm_json_number(json, "sampleMs", has_sampled ? sampler->cost_ms : NAN);
	cpm_json_number(json, "samples", (double) sampler->rounds);
	cpm_json_number(json, "missed", (double) sampler->missed);
	cpm_json_close(json);
}

static void
write_metrics_json(StringInfo json, const CpmSample *sample)
{
	cpm_json_open_array(json, "metrics");
	for (int i = 0; i < CPM_METRICS; i++)
	{
		CpmVerdict	verdict;

		if (!cpm_metric_is_available(&cpm_catalogue[i], sample->sources))
			continue;
		verdict = cpm_evaluate_metric(i, sample, cpm_settings_thresholds(i));
		cpm_json_open(json, NULL);
		cpm_json_text(json, "name", cpm_catalogue[i].name);
		cpm_json_text(json, "unit", cpm_unit_name(cpm_catalogue[i].unit));
		cpm_json_number(json, "value", verdict.value);
		cpm_json_number(json, "max", verdict.maximum);
		cpm_json_text(json, "status", cpm_status_name(verdict.status));
		cpm_json_number(json, "warning", verdict.warning);
		cpm_json_number(json, "critical", verdict.critical);
		cpm_json_bool(json, "silent", cpm_settings_is_silent(i));
		cpm_json_close(json);
	}
	cpm_json_close_array(json);
}

void
cpm_write_status(StringInfo json)
{
	CpmWorkerStatus sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	StringInfoData health;
	CpmSample	sample;

	initStringInfo(&health);
	(void) cpm_health_write(&health, &sample);
	cpm_json_open(json, NULL);
	cpm_json_text(json, "version", CPM_VERSION);
	cpm_json_text(json, "serverVersion", PG_VERSION);
	cpm_json_time(json, "timestamp", sample.taken_at);
	cpm_json_text(json, "state", RecoveryInProgress() ? "standby" : "running");
	cpm_json_past_time(json, "startedAt", cpm_server_started_at());
	appendStringInfo(json, ",\"health\":%s", health.data);
	write_connections_json(json, &sample);
	cpm_json_open(json, "queries");
	write_window(json, "lastMinute", CPM_LAST_MINUTE);
	write_window(json, "lastHour", CPM_LAST_HOUR);
	write_window(json, "sinceReset", CPM_SINCE_RESET);
	cpm_json_close(json);
	write_sessions_json(json);
	write_refusals(json);
	write_sampler_json(json, &sampler, sample.taken_at);
	write_metrics_json(json, &sample);
	cpm_json_close(json);
}

static void
count_pool_state(const CpmSession *session, void *arg)
{
	PoolRows   *rows = arg;
	int			pool = cpm_slot_pool(session->proc_number, session->pid);

	if (pool < 0 || pool >= rows->slots)
		return;
	rows->row[pool].active += cpm_is_active(session);
	rows->row[pool].idle += session->state == CPM_STATE_IDLE;
	rows->row[pool].idle_in_transaction += cpm_is_idle_in_transaction(session);
}

/* Order by connections, then by statements, the largest first. Rows without a pool are last. */
static int
compare_pool_rows(const void *a, const void *b)
{
	const CpmPool *left = ((const PoolRow *) a)->pool;
	const CpmPool *right = ((const PoolRow *) b)->pool;

	if (left == NULL || right == NULL)
		return (left == NULL) - (right == NULL);
	if (left->connections != right->connections)
		return left->connections > right->connections ? -1 : 1;
	if (left->counts.of[CPM_QUERIES] != right->counts.of[CPM_QUERIES])
		return left->counts.of[CPM_QUERIES] > right->counts.of[CPM_QUERIES] ? -1 : 1;
	return left < right ? -1 : left > right;
}

static bool
was_used(const CpmPool *pool)
{
	return pool->connections > 0 || pool->opened > 0 || pool->counts.of[CPM_QUERIES] > 0;
}

static void
write_pool(StringInfo json, const PoolRow *row, const CpmHistogram *histogram)
{
	const CpmPool *pool = row->pool;
	const uint64 *counts = pool->counts.of;

	cpm_json_open(json, NULL);
	cpm_json_pool_name(json, &pool->name);
	cpm_json_number(json, "connections", pool->connections);
	cpm_json_number(json, "active", row->active);
	cpm_json_number(json, "idle", row->idle);
	cpm_json_number(json, "idleInTransaction", row->idle_in_transaction);
	cpm_json_number(json, "peakConnections", pool->peak_connections);
	cpm_json_number(json, "peakBusy", pool->peak_busy);
	cpm_json_number(json, "opened", (double) pool->opened);
	cpm_json_number(json, "queries", (double) counts[CPM_QUERIES]);
	cpm_json_number(json, "failed", (double) counts[CPM_FAILED_QUERIES]);
	cpm_json_number(json, "transactions", (double) counts[CPM_TRANSACTIONS]);
	cpm_json_number(json, "meanMs", ratio((double) counts[CPM_QUERY_TIME_US] / 1000,
										  (double) counts[CPM_QUERIES]));
	cpm_json_number(json, "p95Ms", cpm_histogram_percentile_us(histogram, 0.95, NAN) / 1000);
	cpm_json_close(json);
}

void
cpm_write_pools(StringInfo json)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_HISTOGRAM_OF_EACH_POOL);
	PoolRows	rows = {.slots = snapshot.slots};
	int			used = 0;

	rows.row = palloc0(snapshot.slots * sizeof(PoolRow));
	(void) cpm_backends_scan(CPM_SCAN_STATES, count_pool_state, &rows);
	for (int i = 0; i < snapshot.slots; i++)
		if (snapshot.is_used[i] && was_used(&snapshot.pool[i]))
		{
			rows.row[i].pool = &snapshot.pool[i];
			used++;
		}
	qsort(rows.row, snapshot.slots, sizeof(PoolRow), compare_pool_rows);
	cpm_json_open(json, NULL);
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_number(json, "all", used);
	cpm_json_open_array(json, "pools");
	for (int i = 0; i < Min(used, MAX_POOLS); i++)
		write_pool(json, &rows.row[i], &snapshot.histogram[rows.row[i].pool - snapshot.pool]);
	cpm_json_close_array(json);
	cpm_json_close(json);
}

typedef struct AlertLogListing
{
	StringInfo	json;
	int			count;			/* entries visited */
} AlertLogListing;

static void
write_log_entry(const CpmAlertLogEntry *entry, void *arg)
{
	AlertLogListing *listing = arg;

	if (listing->count++ >= MAX_LOG_ENTRIES)
		return;
	cpm_json_open(listing->json, NULL);
	cpm_json_past_time(listing->json, "at", entry->at);
	cpm_json_text(listing->json, "metric", cpm_catalogue[entry->metric].name);
	cpm_json_text(listing->json, "from", cpm_status_name(entry->from_status));
	cpm_json_text(listing->json, "to", cpm_status_name(entry->to_status));
	cpm_json_number(listing->json, "value", entry->value);
	cpm_json_foreign_text(listing->json, "message", entry->message);
	cpm_json_close(listing->json);
}

/* Append the alerts and their log without the culprits, which contain pids. */
void
cpm_write_alerts(StringInfo json)
{
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));
	AlertLogListing listing = {.json = json};
	int			sources = cpm_sample_sources();

	(void) cpm_alert_board_get(board);
	cpm_json_open(json, NULL);
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_open_array(json, "alerts");
	for (int i = 0; i < CPM_METRICS; i++)
	{
		const CpmAlertRow *row = &board->row[i];
		bool		is_raised = row->alert.status != CPM_OK;

		if (!cpm_metric_is_available(&cpm_catalogue[i], sources))
			continue;
		cpm_json_open(json, NULL);
		cpm_json_text(json, "metric", cpm_catalogue[i].name);
		cpm_json_text(json, "status", cpm_status_name(row->alert.status));
		cpm_json_number(json, "value", row->value);
		cpm_json_past_time(json, "since", row->alert.since);
		cpm_json_foreign_text(json, "message", is_raised ? row->message : "");
		cpm_json_close(json);
	}
	cpm_json_close_array(json);
	cpm_json_open_array(json, "log");
	cpm_alert_log_scan(write_log_entry, &listing);
	cpm_json_close_array(json);
	cpm_json_close(json);
}

static void
write_incident(StringInfo json, const CpmIncident *incident)
{
	CpmMetricId ids[CPM_METRICS];
	int			metrics = cpm_incident_metrics(incident, ids);

	cpm_json_open(json, NULL);
	cpm_json_number(json, "id", (double) incident->id);
	cpm_json_past_time(json, "startedAt", incident->started_at);
	cpm_json_past_time(json, "endedAt", incident->ended_at);
	cpm_json_text(json, "status", cpm_status_name(incident->status));
	cpm_json_open_array(json, "metrics");
	for (int i = 0; i < metrics; i++)
		cpm_json_text(json, NULL, cpm_catalogue[ids[i]].name);
	cpm_json_close_array(json);
	cpm_json_foreign_text(json, "message", incident->message);
	cpm_json_number(json, "peakConnections", incident->peak_connections);
	cpm_json_number(json, "peakBlocked", incident->peak_blocked);
	cpm_json_number(json, "refused", (double) incident->refused);
	cpm_json_number(json, "failedQueries", (double) incident->failed_queries);
	cpm_json_number(json, "snapshots", incident->snapshots);
	cpm_json_open_array(json, "timeline");
	for (int i = 0; i < incident->changes; i++)
	{
		const CpmIncidentChange *change = &incident->change[i];

		cpm_json_open(json, NULL);
		cpm_json_past_time(json, "at", change->at);
		cpm_json_text(json, "metric", cpm_catalogue[change->metric].name);
		cpm_json_text(json, "from", cpm_status_name(change->from_status));
		cpm_json_text(json, "to", cpm_status_name(change->to_status));
		cpm_json_number(json, "value", change->value);
		cpm_json_bool(json, "bySetting", change->by_setting);
		cpm_json_close(json);
	}
	cpm_json_close_array(json);
	cpm_json_close(json);
}

void
cpm_write_incidents(StringInfo json)
{
	const CpmIncidents *incidents = cpm_incidents_read(false);
	int			count = incidents ? incidents->incidents : 0;

	cpm_json_open(json, NULL);
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_open_array(json, "incidents");
	for (int i = count - 1; i >= 0; i--)
		write_incident(json, &incidents->incident[i]);
	cpm_json_close_array(json);
	cpm_json_close(json);
}

/* Append one PgBouncer, without its last_error, which contains addresses. */
static void
write_pooler(StringInfo json, int pooler, CpmPoolerAnswer *answer)
{
	CpmPoolerState state = cpm_pooler_state(pooler);
	bool		has_answer = cpm_pooler_answer(pooler, answer);

	cpm_json_open(json, NULL);
	cpm_json_foreign_text(json, "name", state.name);
	cpm_json_bool(json, "up", state.up && cpm_pooler_is_fresh(pooler));
	cpm_json_foreign_text(json, "version", has_answer ? answer->version : "");
	cpm_json_foreign_text(json, "poolMode", has_answer ? answer->pool_mode : "");
	cpm_json_number(json, "ageMs", state.last_success != 0 ?
					floor((cpm_monotonic_us() - state.last_success_us) / 1000.0) : NAN);
	cpm_json_time_or_null(json, "retryAt", cpm_pooler_retry_at(&state));
	cpm_json_close(json);
}

static void
write_pooler_pools(StringInfo json, int pooler, CpmPoolerAnswer *answer)
{
	int			pools = cpm_pooler_answer(pooler, answer) ? answer->pools : 0;

	for (int i = 0; i < pools; i++)
	{
		const CpmPoolerPool *pool = &answer->pool[i];
		const int64 *number = pool->number;

		cpm_json_open(json, NULL);
		cpm_json_foreign_text(json, "pooler", cpm_pooler_state(pooler).name);
		cpm_json_foreign_name(json, "database", pool->database);
		cpm_json_foreign_name(json, "user", pool->user);
		cpm_json_number(json, "clientsActive", (double) Max(number[CPM_CL_ACTIVE], 0));
		cpm_json_number(json, "clientsWaiting", (double) Max(number[CPM_CL_WAITING], 0));
		cpm_json_number(json, "serversActive", (double) Max(number[CPM_SV_ACTIVE], 0));
		cpm_json_number(json, "serversIdle", (double) Max(number[CPM_SV_IDLE], 0));
		cpm_json_number(json, "maxWaitMs", floor((double) Max(number[CPM_MAXWAIT], 0) * 1000 +
												 (double) Max(number[CPM_MAXWAIT_US], 0) / 1000));
		cpm_json_foreign_text(json, "poolMode", pool->pool_mode);
		cpm_json_close(json);
	}
}

void
cpm_write_poolers(StringInfo json)
{
	CpmPoolerAnswer *answer = palloc(sizeof(CpmPoolerAnswer));

	cpm_json_open(json, NULL);
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_open_array(json, "poolers");
	for (int i = 0; i < cpm_poolers_count(); i++)
		write_pooler(json, i, answer);
	cpm_json_close_array(json);
	cpm_json_open_array(json, "pools");
	for (int i = 0; i < cpm_poolers_count(); i++)
		write_pooler_pools(json, i, answer);
	cpm_json_close_array(json);
	cpm_json_close(json);
}
