/* SPDX-License-Identifier: PostgreSQL */
/*
 * histogram.c
 *		Reads durations in microseconds, one a line, and prints what
 *		base/histogram makes of them: three percentiles, then for each duration
 *		its bucket's bounds. The model that it is compared with is in
 *		t/016_histogram.pl.
 */
#include "postgres.h"

#include <math.h>

#include "base/histogram.h"

/* the server's printf is not linked here */
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
