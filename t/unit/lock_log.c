/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_log.c
 *		Logs a wait for a lock whose outcome remains unknown, without a server.
 *
 * A session normally records a failed wait at once; this one never does. The program sets the
 * system clock back by an hour after the wait, and prints for each second whether the wait is
 * still open. t/056_clock.pl checks the output.
 */
#include "postgres.h"

#include "events/lock_log.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* this program does not link the server's functions */
#undef printf
#include <stdio.h>
#include <stdlib.h>

int			MaxBackends = 1;

Size
add_size(Size a, Size b)
{
	return a + b;
}

static CpmWaitOutcome
find_nothing(int proc_number, const CpmOpenWait *open, TimestampTz *ended_at)
{
	(void) proc_number, (void) open, (void) ended_at;
	return CPM_WAIT_LASTS;
}

static void
print_outcome(const void *entry, void *arg)
{
	const char *name = cpm_wait_outcome_name(cpm_logged_outcome(entry));

	(void) arg;
	printf("%c", name ? name[0] : '.');
}

int
main(void)
{
	TimestampTz start = 10 * USECS_PER_HOUR;
	CpmOpenWait open = {.pid = 1, .since = start, .recorded_since = start};
	CpmLoggedWait entry = {.started_at = start};

	cpm_lock_log_attach(calloc(1, cpm_lock_log_size()), true);
	cpm_lock_log_begin_round(start, 0);
	cpm_lock_log_open(0, &open, &entry);
	for (int second = 1; second <= 14; second++)
	{
		TimestampTz now = start + second * USECS_PER_SEC - (second > 3 ? USECS_PER_HOUR : 0);

		cpm_lock_log_begin_round(now, second * USECS_PER_SEC);
		cpm_lock_log_end_waits(find_nothing);
		cpm_lock_log_scan(print_outcome, NULL);
	}
	printf("\n");
	return 0;
}
