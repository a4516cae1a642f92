/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerts.h
 *		When an alert rises, falls and is repeated.
 */
#ifndef CPM_ALERTS_H
#define CPM_ALERTS_H

#include "base/alert.h"
#include "rules/catalogue.h"

typedef struct CpmAlertRules
{
	int64		after_us;		/* a condition must hold for so long */
	int64		clear_after_us; /* and be clear for so long */
	int64		repeat_us;		/* 0: never */
	bool		is_silent;		/* the metric raises nothing */
} CpmAlertRules;

typedef enum CpmAlertEvent
{
	CPM_ALERT_NOTHING,
	CPM_ALERT_TRANSITION,		/* status has changed */
	CPM_ALERT_DROPPED,			/* status is OK because nobody watches it any more */
	CPM_ALERT_REPEAT			/* it stands, and is due to be said again */
} CpmAlertEvent;

/*
 * Advance an alert by one sample. elapsed_us is the time since the sample
 * before it, 0 for the first; a caller that missed samples limits it, so that
 * time nobody looked at does not count as held. Pure; cannot fail.
 */
extern CpmAlertEvent cpm_alert_step(CpmAlert *alert, CpmMetricId id, const CpmVerdict *verdict,
									const CpmAlertRules *rules, TimestampTz now,
									int64 elapsed_us);

#endif							/* CPM_ALERTS_H */
