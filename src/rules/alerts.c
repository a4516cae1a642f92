/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerts.c
 *		When an alert rises, falls and is repeated.
 *
 * WARNING and CRITICAL are two levels with a timer each. A level rises when
 * its condition has held without a break for after_us, and falls when it has
 * been clear without a break for clear_after_us; between those a value may
 * flap as it likes. The status is the highest level that is up. CRITICAL's
 * condition implies WARNING's, so a value that jumps past both raises both in
 * the same step, and that is one transition.
 *
 * Time is counted in the steps that samples take, not read from a clock: an
 * unknown value adds nothing to any timer, and a clock that jumps does no harm.
 */
#include "postgres.h"

#include <math.h>

#include "base/sample.h"
#include "rules/alerts.h"

/* Levels as they index CpmAlert's arrays. */
enum
{
	LEVEL_WARNING,
	LEVEL_CRITICAL
};

/* Count the time a state has lasted: 0 in its first step, -1 when it is over. */
static void
advance_timer(int64 *timer_us, bool lasts, int64 elapsed_us)
{
	if (!lasts)
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

/* A level that nobody watches is down, and has been neither met nor clear. */
static void
reset_level(CpmAlert *alert, int level)
{
	alert->raised[level] = false;
	alert->held_us[level] = alert->clear_us[level] = -1;
}

/*
 * Drop the levels that are not watched: of a silent metric, or with the
 * threshold turned off. Returns whether the alert fell by that.
 */
static bool
drop_unwatched(CpmAlert *alert, const CpmVerdict *verdict, bool is_silent)
{
	bool		was_raised = alert->raised[LEVEL_WARNING] || alert->raised[LEVEL_CRITICAL];

	if (is_silent || isnan(verdict->warning))
		reset_level(alert, LEVEL_WARNING);
	if (is_silent || isnan(verdict->critical))
		reset_level(alert, LEVEL_CRITICAL);
	return was_raised && !alert->raised[LEVEL_WARNING] && !alert->raised[LEVEL_CRITICAL];
}

static void
remember_peak(CpmAlert *alert, const CpmMetric *metric, double value)
{
	if (alert->status == CPM_OK)
		alert->peak = NAN;
	else if (cpm_is_number(value) &&
			 (isnan(alert->peak) ||
			  (metric->low_is_bad ? value < alert->peak : value > alert->peak)))
		alert->peak = value;
}

static void
step_levels(CpmAlert *alert, const CpmMetric *metric, const CpmVerdict *verdict,
			const CpmAlertRules *rules, int64 elapsed_us)
{
	int64		after_us = metric->at_once ? 0 : rules->after_us;

	if (!isnan(verdict->critical))
		step_level(alert, LEVEL_CRITICAL, verdict->status == CPM_CRITICAL, rules, after_us,
				   elapsed_us);
	if (!isnan(verdict->warning))
		step_level(alert, LEVEL_WARNING, verdict->status != CPM_OK, rules, after_us, elapsed_us);
}

/* Is a standing alert due to be said again? */
static bool
repeat_is_due(CpmAlert *alert, const CpmAlertRules *rules, int64 elapsed_us)
{
	if (alert->status == CPM_OK)
		return false;
	alert->unrepeated_us += elapsed_us;
	if (rules->repeat_us == 0 || alert->unrepeated_us < rules->repeat_us)
		return false;
	alert->unrepeated_us = 0;
	return true;
}

CpmAlertEvent
cpm_alert_step(CpmAlert *alert, CpmMetricId id, const CpmVerdict *verdict,
			   const CpmAlertRules *rules, TimestampTz now, int64 elapsed_us)
{
	const CpmMetric *metric = &cpm_catalogue[id];
	CpmStatus	before = alert->status;
	bool		is_dropped = drop_unwatched(alert, verdict, rules->is_silent);

	if (alert->since == 0)
		alert->since = now;
	if (isnan(verdict->value))
		elapsed_us = 0;			/* frozen */
	else if (!rules->is_silent)
		step_levels(alert, metric, verdict, rules, elapsed_us);

	alert->status = alert->raised[LEVEL_CRITICAL] ? CPM_CRITICAL :
		alert->raised[LEVEL_WARNING] ? CPM_WARNING : CPM_OK;
	remember_peak(alert, metric, verdict->value);

	if (alert->status != before)
	{
		alert->since = now;
		alert->unrepeated_us = 0;
		return is_dropped && alert->status == CPM_OK ? CPM_ALERT_DROPPED : CPM_ALERT_TRANSITION;
	}
	return repeat_is_due(alert, rules, elapsed_us) ? CPM_ALERT_REPEAT : CPM_ALERT_NOTHING;
}
