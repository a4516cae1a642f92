/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerts.h
 *		The state machine of an alert: when it rises, falls and is repeated.
 */
#ifndef CPM_ALERTS_H
#define CPM_ALERTS_H

#include "base/alert.h"
#include "rules/catalogue.h"

typedef struct CpmAlertRules
{
	int64		after_us;		/* a level rises when its threshold has been met for this long */
	int64		clear_after_us; /* it falls when its threshold has not been met for this long */
	int64		repeat_us;		/* interval of repetitions while not OK; 0 for none */
	bool		is_silent;		/* the metric raises no alerts */
} CpmAlertRules;

typedef enum CpmAlertEvent
{
	CPM_ALERT_NOTHING,
	CPM_ALERT_TRANSITION,		/* the status has changed */
	CPM_ALERT_DROPPED,			/* the status is OK because the thresholds were turned off, or the
								 * metric was silenced */
	CPM_ALERT_REPEAT,			/* the status is still not OK, and a repetition is due */
	CPM_ALERT_REDEFINED			/* the status is better because a setting changed: the value would
								 * still meet the threshold with the former settings */
} CpmAlertEvent;

/*
 * Advance an alert by one sample, and return the event. elapsed_us is the time since the previous
 * sample, 0 for the first. After missed samples the caller must limit elapsed_us, because it is
 * unknown whether the thresholds were met meanwhile. Changes only *alert; cannot fail.
 */
extern CpmAlertEvent cpm_alert_step(CpmAlert *alert, CpmMetricId id, const CpmVerdict *verdict,
									const CpmAlertRules *rules, TimestampTz now,
									int64 elapsed_us);

/* Return the threshold that the value met when it last had that status or a worse one. */
extern double cpm_alert_met_threshold(const CpmAlert *alert, CpmStatus status);

#endif							/* CPM_ALERTS_H */
