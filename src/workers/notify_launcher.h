/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_launcher.h
 *		Queues alert transitions for NOTIFY and starts the worker that sends them.
 *
 * The sampler only. Times are those of the monotonic clock. Nothing here waits.
 */
#ifndef CPM_NOTIFY_LAUNCHER_H
#define CPM_NOTIFY_LAUNCHER_H

#include "rules/alerts.h"
#include "samples/alert_state.h"

/*
 * Queue a transition from the status before to the one in row. at is when the sample was taken;
 * sequence is that of the transition in the alert log. Does nothing if notify_database is empty or
 * the server is in recovery. Above notify_rate a second, or if the queue is full, counts the
 * transition as dropped.
 */
extern void cpm_notify_launcher_enqueue(CpmMetricId id, CpmStatus before, const CpmAlertRow *row,
										TimestampTz at, uint64 sequence, int64 now_us);

/*
 * Check the notifier that is running, if any, and start one if transitions are queued. Call once
 * a round.
 */
extern void cpm_notify_launcher_round(int64 now_us);

/* Terminate a running notifier. Call when the sampler ends, because nothing else would. */
extern void cpm_notify_launcher_end(void);

#endif							/* CPM_NOTIFY_LAUNCHER_H */
