/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_messages.h
 *		Writes an alert to the server log.
 */
#ifndef CPM_ALERT_MESSAGES_H
#define CPM_ALERT_MESSAGES_H

#include "rules/alerts.h"
#include "samples/alert_state.h"

/*
 * A WARNING when the alert stands, LOG when it has recovered or is not watched
 * any more. The sampler only, at any event but CPM_ALERT_NOTHING. row holds the new
 * status, its message and its culprit; now_us is by the monotonic clock. When
 * there is too much to say, it says so instead.
 */
extern void cpm_log_alert(CpmMetricId id, CpmAlertEvent event, CpmStatus before,
						  const CpmAlertRow *row, int64 now_us);

#endif							/* CPM_ALERT_MESSAGES_H */
