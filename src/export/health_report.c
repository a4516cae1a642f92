/* SPDX-License-Identifier: PostgreSQL */
/*
 * health_report.c
 *		connpool_health(): the health of the server as a JSON document.
 *
 * The document has only counts and statuses, so every role may read it. The statuses are those of
 * the alerts, so that a value that crosses a threshold only briefly has no effect. If no sampler
 * updates the alerts, because the library is not preloaded or the sampler has stopped, the
 * statuses result from comparing the current values with the thresholds.
 */
#include "postgres.h"

#include <math.h>

#include "base/json.h"
#include "base/metric_settings.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/text_settings.h"
#include "events/rejections.h"
#include "export/health_report.h"
#include "fmgr.h"
#include "rules/catalogue.h"
#include "rules/health.h"
#include "samples/alert_state.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define RECENT_REFUSAL_US (10 * USECS_PER_SEC)

PG_FUNCTION_INFO_V1(connpool_health_1_0);

typedef struct HealthFacts
{
	CpmSample	sample;
	CpmWorkerStatus sampler;
	bool		sampler_failed;
	bool		recently_refused;	/* a connection was refused because no slot was free */

	/* by CpmMetricId */
	CpmVerdict	verdict[CPM_METRICS];	/* of the current value */
	CpmStatus	status[CPM_METRICS];	/* of the alert if it is updated, else of the verdict */
	bool		is_checked[CPM_METRICS];	/* the metric is available and not silent */
} HealthFacts;

static void
gather_facts(HealthFacts *facts)
{
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));
	bool		alerts_are_updated;

	cpm_sample_take(&facts->sample, NULL);
	facts->sampler = cpm_worker_status(CPM_WORKER_SAMPLER);
	facts->sampler_failed = cpm_is_preloaded() &&
		cpm_worker_is_stale(&facts->sampler, cpm_sample_interval_ms);
	facts->recently_refused = cpm_slot_rejected_within(RECENT_REFUSAL_US);
	alerts_are_updated = cpm_alert_board_get(board) && !facts->sampler_failed;

	for (int i = 0; i < CPM_METRICS; i++)
	{
		facts->verdict[i] = cpm_evaluate_metric(i, &facts->sample, cpm_settings_thresholds(i));
		facts->status[i] = alerts_are_updated ? board->row[i].alert.status :
			facts->verdict[i].status;
		facts->is_checked[i] = cpm_metric_is_available(&cpm_catalogue[i], facts->sample.sources) &&
			!cpm_settings_is_silent(i);
	}
	pfree(board);
}

static void
write_stats(StringInfo json, const CpmSample *sample)
{
	cpm_json_open(json, "stats");
	cpm_json_number(json, "totalConnections", sample->value[CPM_TOTAL_CONNECTIONS]);
	cpm_json_number(json, "activeConnections", sample->value[CPM_ACTIVE_CONNECTIONS]);
	cpm_json_number(json, "pooledConnections", sample->pooled_connections);
	cpm_json_number(json, "idleConnections", sample->value[CPM_IDLE_CONNECTIONS]);
	cpm_json_number(json, "idleInTransaction", sample->value[CPM_IDLE_IN_TRANSACTION]);
	cpm_json_number(json, "usableConnections", sample->usable_slots);
	cpm_json_number(json, "maxConnections", sample->max_connections);
	cpm_json_close(json);
}

static void
write_checks(StringInfo json, const HealthFacts *facts)
{
	cpm_json_open(json, "checks");
	for (int i = 0; i < CPM_METRICS; i++)
	{
		const CpmVerdict *verdict = &facts->verdict[i];

		if (!facts->is_checked[i])
			continue;
		cpm_json_open(json, cpm_catalogue[i].name);
		cpm_json_text(json, "status", cpm_status_name(facts->status[i]));
		cpm_json_number(json, "value", verdict->value);
		cpm_json_number(json, "max", verdict->maximum);
		cpm_json_number(json, "warning", verdict->warning);
		cpm_json_number(json, "critical", verdict->critical);
		cpm_json_close(json);
	}
	cpm_json_close(json);
}

static void
write_sampler(StringInfo json, const HealthFacts *facts)
{
	const CpmWorkerStatus *sampler = &facts->sampler;

	cpm_json_open(json, "sampler");
	cpm_json_bool(json, "running", sampler->pid != 0);
	cpm_json_number(json, "lastSampleAgeMs",
					cpm_last_round_age_ms(sampler, facts->sample.taken_at));
	cpm_json_close(json);
}

static const char *
unhealthy_reason(const CpmSample *sample)
{
	if (sample->value[CPM_TOTAL_CONNECTIONS] >= sample->usable_slots)
		return psprintf("no connection slot is left for an ordinary role: "
						"%.0f of %d usable slots are taken",
						sample->value[CPM_TOTAL_CONNECTIONS], sample->usable_slots);
	return "a connection was refused within the last 10 seconds because no slot was free";
}

CpmHealth
cpm_health_write(StringInfo json, CpmSample *sample)
{
	HealthFacts facts;
	CpmHealthInput input = {.sample = &facts.sample, .status = facts.status,
	.is_checked = facts.is_checked};
	CpmHealth	health;

	gather_facts(&facts);
	input.sampler_failed = facts.sampler_failed;
	input.recently_refused = facts.recently_refused;
	health = cpm_evaluate_health(&input);

	cpm_json_open(json, NULL);
	cpm_json_text(json, "status", cpm_health_name(health));
	cpm_json_time(json, "timestamp", facts.sample.taken_at);
	write_stats(json, &facts.sample);
	write_checks(json, &facts);
	write_sampler(json, &facts);
	if (health == CPM_UNHEALTHY)
		cpm_json_text(json, "error", unhealthy_reason(&facts.sample));
	cpm_json_close(json);
	if (sample)
		*sample = facts.sample;
	return health;
}

Datum
connpool_health_1_0(PG_FUNCTION_ARGS)
{
	StringInfoData json;

	(void) fcinfo;
	initStringInfo(&json);
	(void) cpm_health_write(&json, NULL);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}
