/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_queue.c
 *		The queue of alert transitions that await NOTIFY.
 *
 * A queue of fixed size with one producer, the sampler, and one consumer, the notifier. Neither
 * waits for the other: if the queue is full, the sampler drops the new notification and counts
 * it. Notifications are numbered from 0; those from "sent" up to "next" are queued. The sampler
 * writes an entry before it advances "next", and never overwrites a queued entry.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "samples/notify_queue.h"

typedef struct NotifyQueue
{
	pg_atomic_uint64 next;		/* number of the next notification; the sampler writes */
	pg_atomic_uint64 sent;		/* number of the oldest queued one; the notifier advances it, and
								 * the sampler when it clears the queue */
	pg_atomic_uint64 dropped;	/* since the server started; the sampler writes */
	pg_atomic_uint32 failing;	/* 1 if the latest attempt to send failed; the sampler writes */
	pg_atomic_uint32 notifier;	/* pid of the notifier; 0 if none. The notifier writes */
	CpmNotification entry[CPM_NOTIFICATIONS];	/* by number % CPM_NOTIFICATIONS; the sampler
												 * writes */
} NotifyQueue;

static NotifyQueue *shared;

Size
cpm_notifications_size(void)
{
	return sizeof(NotifyQueue);
}

void
cpm_notifications_attach(void *memory, bool is_new)
{
	shared = memory;
	if (!is_new)
		return;
	memset(shared, 0, sizeof(*shared));
	pg_atomic_init_u64(&shared->next, 0);
	pg_atomic_init_u64(&shared->sent, 0);
	pg_atomic_init_u64(&shared->dropped, 0);
	pg_atomic_init_u32(&shared->failing, 0);
	pg_atomic_init_u32(&shared->notifier, 0);
}

uint64
cpm_notifications_waiting(void)
{
	return pg_atomic_read_u64(&shared->next) - pg_atomic_read_u64(&shared->sent);
}

void
cpm_notification_drop(void)
{
	pg_atomic_fetch_add_u64(&shared->dropped, 1);
}

bool
cpm_notification_add(const CpmNotification *notification)
{
	uint64		number = pg_atomic_read_u64(&shared->next);

	if (cpm_notifications_waiting() >= CPM_NOTIFICATIONS)
	{
		cpm_notification_drop();
		return false;
	}
	shared->entry[number % CPM_NOTIFICATIONS] = *notification;
	pg_write_barrier();
	pg_atomic_write_u64(&shared->next, number + 1);
	return true;
}

void
cpm_notifications_clear(void)
{
	pg_atomic_fetch_add_u64(&shared->dropped, cpm_notifications_waiting());
	pg_atomic_write_u64(&shared->sent, pg_atomic_read_u64(&shared->next));
}

void
cpm_notifications_set_failing(bool failing)
{
	pg_atomic_write_u32(&shared->failing, failing ? 1 : 0);
}

bool
cpm_notifications_are_failing(void)
{
	return shared != NULL && pg_atomic_read_u32(&shared->failing) != 0;
}

bool
cpm_notifier_claim(int pid)
{
	uint32		no_pid = 0;

	return pg_atomic_compare_exchange_u32(&shared->notifier, &no_pid, (uint32) pid);
}

void
cpm_notifier_release(int pid)
{
	uint32		own_pid = (uint32) pid;

	(void) pg_atomic_compare_exchange_u32(&shared->notifier, &own_pid, 0);
}

uint64
cpm_notifications_first(void)
{
	return pg_atomic_read_u64(&shared->sent);
}

bool
cpm_notification_get(uint64 number, CpmNotification *notification)
{
	if (number >= pg_atomic_read_u64(&shared->next))
		return false;
	pg_read_barrier();
	*notification = shared->entry[number % CPM_NOTIFICATIONS];
	return true;
}

void
cpm_notifications_sent(uint64 number)
{
	uint64		sent;

	/* The reads of the entries must finish before "sent" permits the sampler to overwrite them. */
	pg_memory_barrier();
	/* Never decrease "sent": a restarted sampler may have cleared the queue meanwhile. */
	sent = pg_atomic_read_u64(&shared->sent);
	while (sent < number && !pg_atomic_compare_exchange_u64(&shared->sent, &sent, number))
		;
}

uint64
cpm_notifications_dropped(void)
{
	return shared ? pg_atomic_read_u64(&shared->dropped) : 0;
}
