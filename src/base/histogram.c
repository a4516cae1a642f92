/* SPDX-License-Identifier: PostgreSQL */
/*
 * histogram.c
 *		A log-linear histogram of durations, and percentiles computed from it.
 */
#include "postgres.h"

#include <math.h>

#include "base/histogram.h"

double
cpm_bucket_lower_us(int bucket)
{
	int			octave;

	if (bucket >= CPM_BUCKETS)
		return INFINITY;
	if (bucket < 2 * CPM_SUB_BUCKETS)
		return bucket;
	octave = bucket / CPM_SUB_BUCKETS - 1;
	return ldexp(CPM_SUB_BUCKETS + bucket % CPM_SUB_BUCKETS, octave);
}

uint64
cpm_histogram_total(const CpmHistogram *histogram)
{
	uint64		total = 0;

	for (int i = 0; i < CPM_BUCKETS; i++)
		total += histogram->count[i];
	return total;
}

void
cpm_histogram_subtract(CpmHistogram *histogram, const CpmHistogram *earlier)
{
	for (int i = 0; i < CPM_BUCKETS; i++)
		histogram->count[i] -= Min(histogram->count[i], earlier->count[i]);
}

void
cpm_histogram_add(CpmHistogram *histogram, const CpmHistogram *other)
{
	for (int i = 0; i < CPM_BUCKETS; i++)
		histogram->count[i] += other->count[i];
}

/* Estimate the rank-th shortest of the durations in a bucket; the first has rank 1. */
static double
interpolate_in_bucket(int bucket, uint64 rank, uint64 count)
{
	double		lower = cpm_bucket_lower_us(bucket);
	double		upper = cpm_bucket_lower_us(bucket + 1);

	/* a bucket 1 us wide holds equal durations, and the last bucket has no upper bound */
	if (upper - lower <= 1 || isinf(upper))
		return lower;
	return lower + (upper - lower) * ((double) rank - 0.5) / (double) count;
}

double
cpm_histogram_percentile_us(const CpmHistogram *histogram, double fraction, double max_us)
{
	uint64		total = cpm_histogram_total(histogram);
	uint64		rank = (uint64) ceil(fraction * (double) total);
	uint64		before = 0;

	if (total == 0)
		return NAN;
	rank = Max(rank, 1);
	for (int i = 0; i < CPM_BUCKETS; i++)
	{
		uint64		count = histogram->count[i];

		if (before + count >= rank)
		{
			double		us = interpolate_in_bucket(i, rank - before, count);

			/* a backend counts a duration before it raises max_us, so max_us may lag behind */
			return us > max_us ? Max(max_us, cpm_bucket_lower_us(i)) : us;
		}
		before += count;
	}
	return NAN;
}
