/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_messages.h
 *		Writes alerts to the server log.
 */
#ifndef CPM_ALERT_MESSAGES_H
#define CPM_ALERT_MESSAGES_H

#include "rules/alerts.h"
#include "samples/alert_state.h"

/*
 * Log an alert event other than CPM_ALERT_NOTHING: a WARNING if the alert is raised, a LOG message
 * if it has recovered or its metric is no longer watched. row holds the new status, its message
 * and its culprit; now_us is the monotonic clock. Messages above the rate limit are suppressed,
 * and the next message is preceded by their number. The sampler only.
 */
extern void cpm_log_alert(CpmMetricId id, CpmAlertEvent event, CpmStatus before,
						  const CpmAlertRow *row, int64 now_us);

#endif							/* CPM_ALERT_MESSAGES_H */
