/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert.h
 *		The state of the alert for one metric.
 *
 * A plain value: rules/alerts computes the next state, samples/alert_state keeps it in shared
 * memory.
 */
#ifndef CPM_ALERT_H
#define CPM_ALERT_H

#include "base/metric.h"
#include "datatype/timestamp.h"

typedef struct CpmAlert
{
	CpmStatus	status;			/* the highest raised level */
	TimestampTz since;			/* start of this status; 0 before the first sample */
	bool		by_setting;		/* it began because a setting changed, not the value */
	bool		raised[2];		/* by level (WARNING, CRITICAL), like the next two arrays */
	int64		held_us[2];		/* how long the threshold has been met; -1: not met now */
	int64		clear_us[2];	/* how long a raised level's threshold has not been met; -1: met
								 * now, or not raised */
	int64		since_reported_us;	/* time since the alert was last reported */
	double		met[2];			/* by level: the threshold last met, in the metric's unit */
	double		peak;			/* worst value since the status left OK; NaN while OK */
} CpmAlert;

#endif							/* CPM_ALERT_H */
