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
 * Log an alert event other than CPM_ALERT_NOTHING: a WARNING while the alert is raised, a LOG
 * message if it has recovered or ended because a setting changed. row holds the new status,
 * the message and the main contributors; now_us is the monotonic clock. Messages above the rate
 * limit are suppressed and counted, and their number is logged before the next message. The
 * sampler only.
 */
extern void cpm_log_alert(CpmMetricId id, CpmAlertEvent event, CpmStatus before,
						  const CpmAlertRow *row, int64 now_us);

#endif							/* CPM_ALERT_MESSAGES_H */
