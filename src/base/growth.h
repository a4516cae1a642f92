/* SPDX-License-Identifier: PostgreSQL */
/*
 * growth.h
 *		Estimates how fast a series grows, ignoring spikes and single steps.
 */
#ifndef CPM_GROWTH_H
#define CPM_GROWTH_H

#include "datatype/timestamp.h"

#define CPM_GROWTH_BUCKETS 10
#define CPM_GROWTH_SPAN_US (INT64CONST(300) * USECS_PER_SEC)

/* Sums over equal intervals; bucket 0 is the newest. */
typedef struct CpmBuckets
{
	int64		width_us;
	int			count[CPM_GROWTH_BUCKETS];
	double		sum[CPM_GROWTH_BUCKETS];
} CpmBuckets;

/* A plain value: initialized by cpm_growth_begin(), filled by cpm_growth_add(). */
typedef struct CpmGrowth
{
	TimestampTz now;
	int64		oldest_age_us;	/* of the oldest value added */
	CpmBuckets	slow;			/* half-minutes: all of CPM_GROWTH_SPAN_US */
	CpmBuckets	fast;			/* ten seconds each: the last 100 seconds */
} CpmGrowth;

extern void cpm_growth_begin(CpmGrowth *growth, TimestampTz now);

/* Add a value, in any order. Ignores NaN and values from the future or older than the span. */
extern void cpm_growth_add(CpmGrowth *growth, TimestampTz at, double value);

/* Return the growth per second; NaN if the oldest value is younger than a minute. */
extern double cpm_growth_per_second(const CpmGrowth *growth);

/*
 * Return the seconds until total reaches limit at that growth: 0 if total has reached it; infinity
 * if total is below half the limit or grows by less than one in two minutes; NaN if total is above
 * half the limit and the growth is unknown (NaN).
 */
extern double cpm_growth_exhaustion_seconds(double per_second, double total, double limit);

#endif							/* CPM_GROWTH_H */
