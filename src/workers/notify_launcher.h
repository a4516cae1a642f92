/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_launcher.h
 *		Queues alert transitions for NOTIFY and starts the worker that sends them.
 *
 * The sampler only; now_us is the monotonic clock. None of these functions waits.
 */
#ifndef CPM_NOTIFY_LAUNCHER_H
#define CPM_NOTIFY_LAUNCHER_H

#include "rules/alerts.h"
#include "samples/alert_state.h"

/*
 * Queue a transition from the status "before" to the status in row. "at" is when the sample was
 * taken; sequence is the transition's number in the alert log. Does nothing if notify_database is
 * empty or the server is in recovery. Drops and counts the transition if notify_rate transitions
 * were already queued in the last second, or if the queue is full.
 */
extern void cpm_notify_launcher_enqueue(CpmMetricId id, CpmStatus before, const CpmAlertRow *row,
										TimestampTz at, uint64 sequence, int64 now_us);

/* Check the running notifier, or start one if transitions are queued. Call once in a round. */
extern void cpm_notify_launcher_round(int64 now_us);

/* Terminate a running notifier. Call when the sampler ends, because no other process does it. */
extern void cpm_notify_launcher_end(void);

#endif							/* CPM_NOTIFY_LAUNCHER_H */
