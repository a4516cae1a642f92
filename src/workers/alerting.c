/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerting.c
 *		Advances all alerts by one sample and announces their transitions.
 *
 * A round copies the alert board from shared memory, advances every alert and writes transitions
 * to the alert log, the server log and the NOTIFY queue. Then it publishes the board as a whole,
 * so that a client that sees a status finds its transition in the alert log, and in the server log
 * unless the rate limit suppressed the message.
 *
 * Finding the top contributors costs more than a sample, so it happens only for warnings that are
 * about to be logged. If the search raises an error, the warning is logged without contributors,
 * because a shortage of memory must not silence an alert.
 */
#include "postgres.h"

#include "base/caught_error.h"
#include "base/metric_settings.h"
#include "base/settings.h"
#include "base/text_settings.h"
#include "rules/alerts.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "workers/alert_messages.h"
#include "workers/alerting.h"
#include "workers/notify_launcher.h"
#include "workers/top_contributors.h"

/*
 * A round advances the timers of alerts by at most this many sample intervals. If the sampler was
 * stopped for longer, nobody observed whether the condition held meanwhile.
 */
#define MAX_STEP_INTERVALS 10

static CpmAlertBoard board;		/* static, because it is large for the stack */

static CpmAlertRules
alert_rules(CpmMetricId id)
{
	CpmAlertRules rules = {
		.after_us = cpm_alert_after_ms * INT64CONST(1000),
		.clear_after_us = cpm_alert_clear_after_ms * INT64CONST(1000),
		.repeat_us = cpm_alert_repeat_ms * INT64CONST(1000),
		.is_silent = cpm_settings_is_silent(id),
	};

	return rules;
}

static uint64
log_transition(CpmMetricId id, const CpmAlertRow *row, CpmStatus from_status, TimestampTz at)
{
	CpmAlertLogEntry entry = {
		.at = at,
		.metric = id,
		.from_status = from_status,
		.to_status = row->alert.status,
		.value = row->value,
	};

	strlcpy(entry.message, row->message, sizeof(entry.message));
	strlcpy(entry.culprit, row->culprit, sizeof(entry.culprit));
	return cpm_alert_log_append(&entry);
}

/* Call cpm_find_top_contributors(). If it raises an error, log that and return an empty text. */
static void
find_top_contributors_safely(CpmMetricId id, char *buffer, size_t size)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		cpm_find_top_contributors(id, buffer, size);
	}
	PG_CATCH();
	{
		cpm_log_caught_error(context);
		buffer[0] = '\0';
	}
	PG_END_TRY();
}

/*
 * Write the message of an alert's event. If the alert ends, the message describes the threshold
 * that it had exceeded. If a change of a setting improved the status, the message adds that this
 * was the reason.
 */
static void
describe_event(CpmMetricId id, CpmAlertEvent event, CpmStatus before, const CpmVerdict *verdict)
{
	CpmAlertRow *row = &board.row[id];

	cpm_describe(row->message, sizeof(row->message), id,
				 row->alert.status != CPM_OK ? row->alert.status : before, verdict);
	if (event == CPM_ALERT_DROPPED)
		strlcat(row->message, " (no longer monitored)", sizeof(row->message));
	else if (event == CPM_ALERT_REDEFINED)
		cpm_describe_former(row->message, sizeof(row->message), before, verdict,
							cpm_alert_met_threshold(&row->alert, before));
}

/*
 * Advance one alert by the sample and return its event. If there is one, update the message and
 * the contributors of the alert.
 */
static CpmAlertEvent
step_metric(CpmMetricId id, const CpmSample *sample, int64 elapsed_us)
{
	CpmAlertRow *row = &board.row[id];
	CpmStatus	before = row->alert.status;
	CpmVerdict	verdict = cpm_evaluate_metric(id, sample, cpm_settings_thresholds(id));
	CpmAlertRules rules = alert_rules(id);
	CpmAlertEvent event = cpm_alert_step(&row->alert, id, &verdict, &rules, sample->taken_at,
										 elapsed_us);

	row->value = verdict.value;
	row->maximum = verdict.maximum;
	row->warning = verdict.warning;
	row->critical = verdict.critical;
	if (event != CPM_ALERT_NOTHING)
	{
		describe_event(id, event, before, &verdict);
		row->culprit[0] = '\0';
		if (row->alert.status != CPM_OK)
			find_top_contributors_safely(id, row->culprit, sizeof(row->culprit));
	}
	return event;
}

/* Log an event of an alert; write a transition to the alert log and the NOTIFY queue as well. */
static void
announce_event(CpmMetricId id, CpmAlertEvent event, CpmStatus before, TimestampTz at,
			   int64 now_us)
{
	CpmAlertRow *row = &board.row[id];

	if (event == CPM_ALERT_NOTHING)
		return;
	if (event != CPM_ALERT_REPEAT)
	{
		uint64		sequence = log_transition(id, row, before, at);

		cpm_notify_launcher_enqueue(id, before, row, at, sequence, now_us);
	}
	cpm_log_alert(id, event, before, row, now_us);
}

void
cpm_alerting_round(const CpmSample *sample, int64 elapsed_us, int64 now_us)
{
	int64		interval_us = cpm_sample_interval_ms * INT64CONST(1000);
	CpmAlertEvent event[CPM_METRICS] = {CPM_ALERT_NOTHING};
	CpmStatus	before[CPM_METRICS];

	elapsed_us = Min(elapsed_us, MAX_STEP_INTERVALS * interval_us);
	cpm_alert_board_get(&board);

	for (int i = 0; i < CPM_METRICS; i++)
	{
		before[i] = board.row[i].alert.status;
		if (cpm_metric_is_available(&cpm_catalogue[i], sample->sources))
			event[i] = step_metric(i, sample, elapsed_us);
	}
	for (int i = 0; i < CPM_METRICS; i++)
		announce_event(i, event[i], before[i], sample->taken_at, now_us);
	cpm_alert_board_publish(&board);
}
