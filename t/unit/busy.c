/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy.c
 *		Prints the results of base/busy for t/027_advice.pl to check.
 *
 * One line for each number of sessions: the number, its bucket and the largest number in that
 * bucket. The last line is the distribution after two months with five busy sessions and one
 * month with two.
 */
#include "postgres.h"

#include "base/busy.h"

/* the server's printf is not linked here */
#undef printf
#include <stdio.h>

/* Print samples, weight in days, observed days, the median, the 99th percentile and the mean. */
static void
print_months(void)
{
	static CpmBusy busy;

	for (int minute = 0; minute < 90 * 24 * 60; minute++)
		cpm_busy_add(&busy, minute < 60 * 24 * 60 ? 5 : 2, 600);
	printf("months %u %.2f %.2f %u %u %.4f\n",
		   busy.samples, busy.weight / 864000.0, busy.observed_tenths / 864000.0,
		   cpm_busy_percentile(&busy, 0.5), cpm_busy_percentile(&busy, 0.99),
		   cpm_busy_mean(&busy));
}

int
main(void)
{
	for (uint32 sessions = 0; sessions < 262144; sessions++)
	{
		int			bucket = cpm_busy_bucket(sessions);

		printf("%u %d %u\n", sessions, bucket, cpm_busy_upper(bucket));
	}
	print_months();
	return 0;
}
