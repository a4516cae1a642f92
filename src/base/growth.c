/* SPDX-License-Identifier: PostgreSQL */
/*
 * growth.c
 *		Estimates how fast a series grows, ignoring spikes and single steps.
 *
 * Values are averaged in buckets, and slopes are computed between successive buckets. Steady
 * growth shows in all slopes; a step (a deployment opens 60 connections and keeps them) in at
 * most two; a spike in at most three, one of them negative. The larger of two estimates counts:
 *
 * slow: the median slope between half-minutes, limited to the slope of the last minute so that
 * growth that has stopped is not reported. Detects a leak of one connection a minute.
 *
 * fast: the smallest of the last three slopes between ten-second buckets, ignored below one
 * connection in 20 seconds. Detects faster growth within 40 seconds, long before the median does.
 *
 * A regression line was rejected, because a single step tilts it for five minutes.
 */
#include "postgres.h"

#include <math.h>

#include "base/growth.h"

/*
 * Averages fluctuate as sessions open and close. Less than one connection in two minutes is
 * noise, and for the fast estimate less than one in twenty seconds.
 */
#define MIN_SLOW_PER_SECOND (1.0 / 120)
#define MIN_FAST_PER_SECOND (1.0 / 20)
#define MIN_OBSERVED_US (60 * USECS_PER_SEC)

void
cpm_growth_begin(CpmGrowth *growth, TimestampTz now)
{
	memset(growth, 0, sizeof(*growth));
	growth->now = now;
	growth->slow.width_us = CPM_GROWTH_SPAN_US / CPM_GROWTH_BUCKETS;
	growth->fast.width_us = 10 * USECS_PER_SEC;
}

static void
add_to_bucket(CpmBuckets *buckets, int64 age_us, double value)
{
	int64		bucket = age_us / buckets->width_us;

	if (bucket >= CPM_GROWTH_BUCKETS)
		return;
	buckets->sum[bucket] += value;
	buckets->count[bucket]++;
}

void
cpm_growth_add(CpmGrowth *growth, TimestampTz at, double value)
{
	int64		age_us = growth->now - at;

	if (age_us < 0 || age_us >= CPM_GROWTH_SPAN_US || isnan(value))
		return;
	add_to_bucket(&growth->slow, age_us, value);
	add_to_bucket(&growth->fast, age_us, value);
	growth->oldest_age_us = Max(growth->oldest_age_us, age_us);
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/*
 * Compute the slopes per second between successive non-empty buckets, newest first. Empty buckets
 * are not interpolated: they lengthen the interval of the slope. Returns the number of slopes.
 */
static int
bucket_slopes(const CpmBuckets *buckets, double *slopes)
{
	int			slope_count = 0;
	int			newer = -1;

	for (int i = 0; i < CPM_GROWTH_BUCKETS; i++)
	{
		if (buckets->count[i] == 0)
			continue;
		if (newer >= 0)
		{
			double		rise = buckets->sum[newer] / buckets->count[newer] -
				buckets->sum[i] / buckets->count[i];
			double		seconds = (double) ((i - newer) * buckets->width_us) / USECS_PER_SEC;

			slopes[slope_count++] = rise / seconds;
		}
		newer = i;
	}
	return slope_count;
}

/* Return the slow estimate; 0 while there are too few slopes to distinguish growth from a step. */
static double
slow_growth(const CpmBuckets *buckets)
{
	double		slopes[CPM_GROWTH_BUCKETS];
	double		latest;
	int			count = bucket_slopes(buckets, slopes);

	if (count < 3)
		return 0;
	latest = (slopes[0] + slopes[1]) / 2;
	qsort(slopes, count, sizeof(double), compare_doubles);
	/* with few slopes the median could be one of the two largest, which a step may cause */
	return Min(slopes[Min((count - 1) / 2, count - 3)], latest);
}

/* Return the fast estimate; 0 if one of its four newest buckets is empty. */
static double
fast_growth(const CpmBuckets *buckets)
{
	double		slopes[CPM_GROWTH_BUCKETS];
	double		slowest;

	for (int i = 0; i < 4; i++)
		if (buckets->count[i] == 0)
			return 0;
	bucket_slopes(buckets, slopes);
	slowest = Min(slopes[0], Min(slopes[1], slopes[2]));
	return slowest >= MIN_FAST_PER_SECOND ? slowest : 0;
}

double
cpm_growth_per_second(const CpmGrowth *growth)
{
	if (growth->oldest_age_us < MIN_OBSERVED_US)
		return NAN;
	return Max(slow_growth(&growth->slow), fast_growth(&growth->fast));
}

double
cpm_growth_exhaustion_seconds(double per_second, double total, double limit)
{
	if (total >= limit)
		return 0;
	if (total < limit / 2)
		return INFINITY;
	if (isnan(per_second))
		return NAN;
	if (per_second < MIN_SLOW_PER_SECOND)
		return INFINITY;
	return (limit - total) / per_second;
}
