/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_queue.h
 *		The queue of alert transitions that await NOTIFY.
 */
#ifndef CPM_NOTIFY_QUEUE_H
#define CPM_NOTIFY_QUEUE_H

#include "datatype/timestamp.h"
#include "samples/alert_state.h"

#define CPM_NOTIFICATIONS 256	/* capacity; a transition that finds the queue full is dropped */

typedef struct CpmNotification
{
	uint64		sequence;		/* of the transition; see CpmAlertLogEntry */
	TimestampTz at;
	CpmMetricId metric;
	CpmStatus	status;
	double		value;			/* NaN if unknown */
	double		maximum;		/* NaN if the metric has none */
	double		threshold;		/* that the value crossed, in either direction; NaN if off */
	char		message[CPM_MESSAGE_SIZE];
} CpmNotification;

extern Size cpm_notifications_size(void);
extern void cpm_notifications_attach(void *memory, bool is_new);

/*
 * Append a notification; returns false, and counts it as dropped, if the queue is full. Sampler
 * only; raises no error.
 */
extern bool cpm_notification_add(const CpmNotification *notification);

/* Count a notification that was dropped before it reached the queue. Sampler only. */
extern void cpm_notification_drop(void);

/*
 * Drop and count all notifications in the queue. Sampler only, and only while it runs no
 * notifier, which might otherwise read an entry that is being overwritten.
 */
extern void cpm_notifications_clear(void);

/* Record whether the latest attempt to send the queued notifications failed. Sampler only. */
extern void cpm_notifications_set_failing(bool failing);

/*
 * Return whether the latest attempt to send failed; false if the library is not preloaded. Any
 * process.
 */
extern bool cpm_notifications_are_failing(void);

/*
 * Return the number of queued notifications. Sampler only: elsewhere both ends of the queue might
 * advance between the reads of them.
 */
extern uint64 cpm_notifications_waiting(void);

/*
 * Claim the role of notifier for the process with that pid; returns false if another process
 * holds it. Without the claim two notifiers could run, because a restarted sampler cannot detect
 * that the notifier of its predecessor still runs.
 */
extern bool cpm_notifier_claim(int pid);

/* Release the claim, if the process with that pid holds it. The notifier calls this at exit. */
extern void cpm_notifier_release(int pid);

/*
 * Return the number of the oldest queued notification, or of the next one if the queue is empty.
 * Any process.
 */
extern uint64 cpm_notifications_first(void);

/* Copy the notification with that number; returns false if it is not queued yet. Notifier only. */
extern bool cpm_notification_get(uint64 number, CpmNotification *notification);

/* Remove all notifications with lower numbers from the queue. Notifier only, after its commit. */
extern void cpm_notifications_sent(uint64 number);

/*
 * Return the number of notifications dropped since the server started; 0 if the library is not
 * preloaded. Any process.
 */
extern uint64 cpm_notifications_dropped(void);

#endif							/* CPM_NOTIFY_QUEUE_H */
