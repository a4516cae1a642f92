/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerts.c
 *		The state machine of an alert: when it rises, falls and is repeated.
 *
 * WARNING and CRITICAL are two levels with separate timers. A level rises when its threshold has
 * been met without interruption for after_us, and falls when the threshold has not been met for
 * clear_after_us, also without interruption. Shorter changes have no effect. The status is the
 * highest raised level. A value that meets the critical threshold also counts towards WARNING, so
 * both levels can rise in the same step, which is one transition.
 *
 * Timers add up the time between samples instead of reading a clock. They stop while the value is
 * unknown, and setting the system clock has no effect.
 */
#include "postgres.h"

#include <math.h>

#include "base/sample.h"
#include "rules/alerts.h"

/* Indexes of the levels in the arrays of CpmAlert. */
enum
{
	LEVEL_WARNING,
	LEVEL_CRITICAL
};

/*
 * Advance the timer of a condition. It is -1 while the condition does not hold, and 0 in the first
 * sample in which it holds.
 */
static void
advance_timer(int64 *timer_us, bool holds, int64 elapsed_us)
{
	if (!holds)
		*timer_us = -1;
	else if (*timer_us < 0)
		*timer_us = 0;
	else
		*timer_us += elapsed_us;
}

static void
step_level(CpmAlert *alert, int level, bool is_met, const CpmAlertRules *rules,
		   int64 after_us, int64 elapsed_us)
{
	advance_timer(&alert->held_us[level], is_met, elapsed_us);
	advance_timer(&alert->clear_us[level], alert->raised[level] && !is_met, elapsed_us);

	if (!alert->raised[level] && is_met && alert->held_us[level] >= after_us)
	{
		alert->raised[level] = true;
		alert->clear_us[level] = -1;
	}
	else if (alert->raised[level] && !is_met && alert->clear_us[level] >= rules->clear_after_us)
		alert->raised[level] = false;
}

/* Lower a level and stop its timers. */
static void
reset_level(CpmAlert *alert, int level)
{
	alert->raised[level] = false;
	alert->held_us[level] = alert->clear_us[level] = -1;
}

/*
 * Reset the levels whose threshold is off, or all levels if the metric is silent. Returns true if
 * the alert was raised before and is not raised afterwards.
 */
static bool
reset_disabled_levels(CpmAlert *alert, const CpmVerdict *verdict, bool is_silent)
{
	bool		was_raised = alert->raised[LEVEL_WARNING] || alert->raised[LEVEL_CRITICAL];

	if (is_silent || isnan(verdict->warning))
		reset_level(alert, LEVEL_WARNING);
	if (is_silent || isnan(verdict->critical))
		reset_level(alert, LEVEL_CRITICAL);
	return was_raised && !alert->raised[LEVEL_WARNING] && !alert->raised[LEVEL_CRITICAL];
}

static void
update_peak(CpmAlert *alert, const CpmMetric *metric, double value)
{
	if (alert->status == CPM_OK)
		alert->peak = NAN;
	else if (cpm_is_number(value) &&
			 (isnan(alert->peak) ||
			  (metric->low_is_bad ? value < alert->peak : value > alert->peak)))
		alert->peak = value;
}

/* Return the threshold that a value meets first. Either may be NaN, which means off. */
static double
first_threshold(const CpmMetric *metric, const CpmVerdict *verdict)
{
	return metric->low_is_bad ? fmax(verdict->warning, verdict->critical) :
		fmin(verdict->warning, verdict->critical);
}

static void
step_levels(CpmAlert *alert, const CpmMetric *metric, const CpmVerdict *verdict,
			const CpmAlertRules *rules, int64 elapsed_us)
{
	int64		after_us = metric->is_immediate ? 0 : rules->after_us;

	if (verdict->status == CPM_CRITICAL)
		alert->met[LEVEL_CRITICAL] = verdict->critical;
	if (verdict->status != CPM_OK)
		alert->met[LEVEL_WARNING] = first_threshold(metric, verdict);
	if (!isnan(verdict->critical))
		step_level(alert, LEVEL_CRITICAL, verdict->status == CPM_CRITICAL, rules, after_us,
				   elapsed_us);
	if (!isnan(verdict->warning))
		step_level(alert, LEVEL_WARNING, verdict->status != CPM_OK, rules, after_us, elapsed_us);
}

/* Advance the timer of repetitions; returns true, and restarts it, if a repetition is due. */
static bool
repeat_is_due(CpmAlert *alert, const CpmAlertRules *rules, int64 elapsed_us)
{
	if (alert->status == CPM_OK)
		return false;
	alert->since_reported_us += elapsed_us;
	if (rules->repeat_us == 0 || alert->since_reported_us < rules->repeat_us)
		return false;
	alert->since_reported_us = 0;
	return true;
}

double
cpm_alert_met_threshold(const CpmAlert *alert, CpmStatus status)
{
	return alert->met[status == CPM_CRITICAL ? LEVEL_CRITICAL : LEVEL_WARNING];
}

/*
 * Return the event of a change from the status "before". If the status is better, but the metric
 * would still meet the threshold with the former settings, it has not recovered.
 */
static CpmAlertEvent
event_of_change(const CpmAlert *alert, const CpmMetric *metric, const CpmVerdict *verdict,
				CpmStatus before)
{
	return alert->status < before &&
		cpm_meets_threshold(metric, verdict->former_value,
							cpm_alert_met_threshold(alert, before)) ?
		CPM_ALERT_REDEFINED : CPM_ALERT_TRANSITION;
}

CpmAlertEvent
cpm_alert_step(CpmAlert *alert, CpmMetricId id, const CpmVerdict *verdict,
			   const CpmAlertRules *rules, TimestampTz now, int64 elapsed_us)
{
	const CpmMetric *metric = &cpm_catalogue[id];
	CpmStatus	before = alert->status;
	bool		is_dropped = reset_disabled_levels(alert, verdict, rules->is_silent);

	if (alert->since == 0)
		alert->since = now;
	if (isnan(verdict->value))
		elapsed_us = 0;			/* stop the timer of repetitions, too */
	else if (!rules->is_silent)
		step_levels(alert, metric, verdict, rules, elapsed_us);

	alert->status = alert->raised[LEVEL_CRITICAL] ? CPM_CRITICAL :
		alert->raised[LEVEL_WARNING] ? CPM_WARNING : CPM_OK;
	update_peak(alert, metric, verdict->value);

	if (alert->status != before)
	{
		CpmAlertEvent event = is_dropped && alert->status == CPM_OK ? CPM_ALERT_DROPPED :
			event_of_change(alert, metric, verdict, before);

		alert->since = now;
		alert->since_reported_us = 0;
		alert->by_setting = event != CPM_ALERT_TRANSITION;
		return event;
	}
	return repeat_is_due(alert, rules, elapsed_us) ? CPM_ALERT_REPEAT : CPM_ALERT_NOTHING;
}
