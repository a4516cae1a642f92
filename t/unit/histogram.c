/* SPDX-License-Identifier: PostgreSQL */
/*
 * histogram.c
 *		Prints the results of base/histogram for the durations in its input.
 *
 * Reads durations in microseconds, one per line. Prints the 50th, 95th and 99th percentile, then
 * the lower and upper bound of each duration's bucket. t/016_histogram.pl compares the output
 * with its own model.
 */
#include "postgres.h"

#include <math.h>

#include "base/histogram.h"

/* this program does not link the server's printf */
#undef printf
#undef scanf
#include <stdio.h>

int
main(void)
{
	static CpmHistogram histogram;
	static long long values[100000];
	int			count = 0;
	long long	largest = 0;

	while (count < 100000 && scanf("%lld", &values[count]) == 1)
	{
		histogram.count[cpm_bucket_of((uint64) values[count])]++;
		largest = Max(largest, values[count]);
		count++;
	}
	printf("%.3f %.3f %.3f\n",
		   cpm_histogram_percentile_us(&histogram, 0.50, (double) largest),
		   cpm_histogram_percentile_us(&histogram, 0.95, (double) largest),
		   cpm_histogram_percentile_us(&histogram, 0.99, (double) largest));
	for (int i = 0; i < count; i++)
	{
		int			bucket = (int) cpm_bucket_of((uint64) values[i]);

		printf("%.0f %.0f\n", cpm_bucket_lower_us(bucket), cpm_bucket_lower_us(bucket + 1));
	}
	return 0;
}
