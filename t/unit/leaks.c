/* SPDX-License-Identifier: PostgreSQL */
/*
 * leaks.c
 *		Prints whether rules/leaks suspects an idle session, for t/026_leaks.pl to check.
 *
 * Prints a digit for each case: 1 if the session is a suspect, otherwise 0.
 */
#include "postgres.h"

#include "rules/leaks.h"

/* this program does not link the server's printf and pg_qsort */
#undef printf
#include <stdio.h>

void
pg_qsort(void *base, size_t count, size_t size, int (*compare) (const void *, const void *))
{
	(void) base, (void) count, (void) size, (void) compare;
}

/*
 * age_s is leak_idle_age. The session has been idle for seen_s seconds; its pool opened another
 * session opened_s seconds after this one became idle.
 */
static void
print_verdict(int age_s, int seen_s, double opened_s, bool is_idle_by_design)
{
	TimestampTz then = 1000 * USECS_PER_SEC;
	CpmAges		ages = {.leak_idle_us = age_s * USECS_PER_SEC, .leak_us = USECS_PER_SEC};
	CpmSession	session = {
		.pid = 1,
		.state = CPM_STATE_IDLE,
		.state_change = then,
		.application_name = "psql",
	};

	printf("%d", cpm_leak_kind(&session, then + (int64) (opened_s * USECS_PER_SEC),
							   is_idle_by_design, then + seen_s * USECS_PER_SEC,
							   &ages) == CPM_LEAK_IDLE);
}

int
main(void)
{
	/* a leak_idle_age of 30 min: a pool may take 90 s to fill */
	print_verdict(1800, 1799, 600, false);
	print_verdict(1800, 1801, 600, false);
	print_verdict(1800, 1801, 600, true);
	print_verdict(1800, 1801, 89, false);
	print_verdict(1800, 1801, 91, false);
	print_verdict(1800, 1801, -1, false);
	/* the clock was set back after the other session opened, so its time is in the future */
	print_verdict(1800, 1801, 7200, false);
	/* a leak_idle_age of a minute: a pool fills within 3 s; of less than a minute: at once */
	print_verdict(60, 61, 2.9, false);
	print_verdict(60, 61, 3.1, false);
	print_verdict(59, 61, 0.01, false);
	print_verdict(59, 61, -0.01, false);
	printf("\n");
	return 0;
}
