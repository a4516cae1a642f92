/* SPDX-License-Identifier: PostgreSQL */
/*
 * growth.c
 *		How fast a series grows, undisturbed by a spike or a single step.
 *
 * Values are averaged in buckets, and growth is looked for in the differences
 * from one bucket to the next. A step (a deployment that takes 60 connections at
 * once and keeps them) is in two differences at most and a spike in three, one
 * of them a fall; steady growth is in all. Two looks are taken, and the faster
 * growth counts:
 *
 * slow: the median of the nine differences between half-minutes (while there are
 * fewer, what is left without the two largest), but no more than the growth of
 * the last minute, for growth that is over is none. It sees a leak of a
 * connection a minute.
 *
 * fast: the least of the last three differences between ten-second buckets. It
 * sees growth that began within the minute, which fills a server in two.
 *
 * A regression line was rejected: one step in the middle tilts it for five
 * minutes.
 *
 * Pure arithmetic: no shared memory, no settings, cannot raise an error.
 */
#include "postgres.h"

#include <math.h>

#include "base/growth.h"

/*
 * Averages tremble with sessions that come and go. Less than a connection in two
 * minutes, or for the fast look than one in twenty seconds, is no growth.
 */
#define LEAST_SLOW_PER_SECOND (1.0 / 120)
#define LEAST_FAST_PER_SECOND (1.0 / 20)
#define LEAST_KNOWN_US (60 * USECS_PER_SEC)

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
 * The growth per second between neighbouring buckets that hold values, newest
 * first. A gap between two of them stretches their distance, it is not filled.
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

/* 0 while too little is known to tell growth from a step. */
static double
slow_growth(const CpmBuckets *buckets)
{
	double		slopes[CPM_GROWTH_BUCKETS];
	double		latest;
	int			count = bucket_slopes(buckets, slopes);

	/* the two largest may be one step, also while there are few */
	if (count < 3)
		return 0;
	latest = (slopes[0] + slopes[1]) / 2;
	qsort(slopes, count, sizeof(double), compare_doubles);
	return Min(slopes[Min((count - 1) / 2, count - 3)], latest);
}

/* 0 when samples are too far apart to fill its buckets. */
static double
fast_growth(const CpmBuckets *buckets)
{
	double		slopes[CPM_GROWTH_BUCKETS];
	double		least;

	for (int i = 0; i < 4; i++)
		if (buckets->count[i] == 0)
			return 0;
	bucket_slopes(buckets, slopes);
	least = Min(slopes[0], Min(slopes[1], slopes[2]));
	return least >= LEAST_FAST_PER_SECOND ? least : 0;
}

double
cpm_growth_per_second(const CpmGrowth *growth)
{
	if (growth->oldest_age_us < LEAST_KNOWN_US)
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
	if (per_second < LEAST_SLOW_PER_SECOND)
		return INFINITY;
	return (limit - total) / per_second;
}
