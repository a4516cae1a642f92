/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_launcher.h
 *		The sampler's part in NOTIFY: what is to be told, and who is to tell it.
 */
#ifndef CPM_NOTIFY_LAUNCHER_H
#define CPM_NOTIFY_LAUNCHER_H

#include "rules/alerts.h"
#include "samples/alert_state.h"

/*
 * An alert has changed its status, at the moment of a sample, now_us by the
 * monotonic clock. The sampler only. Keeps it for the notifier, unless nobody is
 * to be told or it is more than notify_rate a second.
 */
extern void cpm_notify_launcher_enqueue(CpmMetricId id, CpmStatus before, const CpmAlertRow *row,
										TimestampTz at, uint64 sequence, int64 now_us);

/*
 * Start a notifier when something waits, see what became of the last one. The
 * sampler only, every round; now_us by the monotonic clock. Waits for nobody.
 */
extern void cpm_notify_launcher_round(int64 now_us);

/* The sampler ends: its notifier, whom nobody would look after, is to end too. */
extern void cpm_notify_launcher_end(void);

#endif							/* CPM_NOTIFY_LAUNCHER_H */
