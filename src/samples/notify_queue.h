/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_queue.h
 *		Transitions of alerts that are yet to be told to who listens.
 */
#ifndef CPM_NOTIFY_QUEUE_H
#define CPM_NOTIFY_QUEUE_H

#include "datatype/timestamp.h"
#include "samples/alert_state.h"

#define CPM_NOTIFICATIONS 256	/* that may wait; more are dropped */

typedef struct CpmNotification
{
	uint64		sequence;		/* of the transition in samples/alert_state */
	TimestampTz at;
	CpmMetricId metric;
	CpmStatus	status;
	double		value;			/* NaN when not known */
	double		maximum;		/* NaN when there is none */
	double		threshold;		/* that was crossed, either way; NaN when it was turned off */
	char		message[CPM_MESSAGE_SIZE];
} CpmNotification;

extern Size cpm_notifications_size(void);
extern void cpm_notifications_attach(void *memory, bool is_new);

/* The sampler only: keep one for the notifier. False, and counted, when too many wait. */
extern bool cpm_notification_add(const CpmNotification *notification);

/* The sampler only: one was not even kept, or those that wait are of no more use. */
extern void cpm_notification_drop(void);
extern void cpm_notifications_clear(void);

/* The sampler only: the last attempt to tell what waits has failed, or has not. */
extern void cpm_notifications_set_failing(bool failing);

/* Any process; false when the library is not preloaded. */
extern bool cpm_notifications_are_failing(void);

/* How many wait. Any process. */
extern uint64 cpm_notifications_waiting(void);

/*
 * Be the notifier: false when another process is. A sampler that was started anew
 * does not know of the one that its predecessor started. Given back at exit.
 */
extern bool cpm_notifier_claim(int pid);
extern void cpm_notifier_release(int pid);

/*
 * The notifier only, of which there is one: the number of the first that waits,
 * the one of that number (false: none), and that all before a number are told.
 */
extern uint64 cpm_notifications_first(void);
extern bool cpm_notification_get(uint64 number, CpmNotification *notification);
extern void cpm_notifications_sent(uint64 number);

/* Dropped since the server started. Any process; 0 when the library is not preloaded. */
extern uint64 cpm_notifications_dropped(void);

#endif							/* CPM_NOTIFY_QUEUE_H */
