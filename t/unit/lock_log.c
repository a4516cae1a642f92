/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_log.c
 *		Logs, without a server, two waits for a lock while the system clock is set.
 *
 * Normally, a session records at once that its wait failed. The session of the first wait never
 * does. The program then sets the system clock back by an hour, and prints for each second whether
 * the log has that wait as still open. The second wait is granted between a step forward and the
 * next sample. The program prints how many seconds it lasted. t/056_clock.pl checks the output.
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
find_nothing(int proc_number, const CpmOpenWait *open, int64 *ended_us)
{
	(void) proc_number, (void) open, (void) ended_us;
	return CPM_WAIT_LASTS;
}

static CpmWaitOutcome
find_granted(int proc_number, const CpmOpenWait *open, int64 *ended_us)
{
	(void) proc_number, (void) open, (void) ended_us;
	return CPM_WAIT_GRANTED;
}

static void
print_outcome(const void *entry, void *arg)
{
	const char *name = cpm_wait_outcome_name(cpm_logged_outcome(entry));

	(void) arg;
	printf("%c", name ? name[0] : '.');
}

static void
print_seconds(const void *entry, void *arg)
{
	(void) arg;
	if (cpm_logged_outcome(entry) == CPM_WAIT_GRANTED)
		printf("%d", (int) (cpm_logged_waited_us(entry) / USECS_PER_SEC));
}

int
main(void)
{
	TimestampTz start = 10 * USECS_PER_HOUR;
	CpmOpenWait open = {.pid = 1, .recorded_since = start};
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

	open.pid = 2;
	cpm_lock_log_begin_round(start, 20 * USECS_PER_SEC);
	cpm_lock_log_open(0, &open, &entry);
	cpm_lock_log_begin_round(start + USECS_PER_HOUR, 22 * USECS_PER_SEC);
	cpm_lock_log_end_waits(find_granted);
	cpm_lock_log_scan(print_seconds, NULL);
	printf("\n");
	return 0;
}
