/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_queue.c
 *		Transitions of alerts that are yet to be told to who listens.
 *
 * A queue of fixed size: the sampler puts in, one notifier takes out. Neither
 * waits for the other; what finds no place is counted and gone.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "samples/notify_queue.h"

typedef struct Notifications
{
	pg_atomic_uint64 next;		/* number of those ever kept; the sampler writes */
	pg_atomic_uint64 told;		/* and of those that wait no more; the notifier, or the sampler
								 * while there is none */
	pg_atomic_uint64 dropped;	/* the sampler writes */
	pg_atomic_uint32 failing;	/* 1: what waits could not be told; the sampler writes */
	pg_atomic_uint32 notifier;	/* the pid of who tells; 0 nobody */
	CpmNotification entry[CPM_NOTIFICATIONS];	/* n stands at n % CPM_NOTIFICATIONS */
} Notifications;

static Notifications *shared;

Size
cpm_notifications_size(void)
{
	return sizeof(Notifications);
}

void
cpm_notifications_attach(void *memory, bool is_new)
{
	shared = memory;
	if (!is_new)
		return;
	memset(shared, 0, sizeof(*shared));
	pg_atomic_init_u64(&shared->next, 0);
	pg_atomic_init_u64(&shared->told, 0);
	pg_atomic_init_u64(&shared->dropped, 0);
	pg_atomic_init_u32(&shared->failing, 0);
	pg_atomic_init_u32(&shared->notifier, 0);
}

uint64
cpm_notifications_waiting(void)
{
	return pg_atomic_read_u64(&shared->next) - pg_atomic_read_u64(&shared->told);
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
	pg_atomic_write_u64(&shared->told, pg_atomic_read_u64(&shared->next));
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
	uint32		nobody = 0;

	return pg_atomic_compare_exchange_u32(&shared->notifier, &nobody, (uint32) pid);
}

void
cpm_notifier_release(int pid)
{
	uint32		mine = (uint32) pid;

	(void) pg_atomic_compare_exchange_u32(&shared->notifier, &mine, 0);
}

uint64
cpm_notifications_first(void)
{
	return pg_atomic_read_u64(&shared->told);
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
	uint64		told;

	pg_memory_barrier();
	/* one that outlived its sampler must not bring back what another has dropped */
	told = pg_atomic_read_u64(&shared->told);
	while (told < number && !pg_atomic_compare_exchange_u64(&shared->told, &told, number))
		;
}

uint64
cpm_notifications_dropped(void)
{
	return shared ? pg_atomic_read_u64(&shared->dropped) : 0;
}
