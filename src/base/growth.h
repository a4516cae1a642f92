/* SPDX-License-Identifier: PostgreSQL */
/*
 * growth.h
 *		How fast a series grows, undisturbed by a spike or a single step.
 */
#ifndef CPM_GROWTH_H
#define CPM_GROWTH_H

#include "datatype/timestamp.h"

#define CPM_GROWTH_BUCKETS 10
#define CPM_GROWTH_SPAN_US (INT64CONST(300) * USECS_PER_SEC)

/* Averages over equal stretches of time; bucket 0 is the newest. */
typedef struct CpmBuckets
{
	int64		width_us;
	int			count[CPM_GROWTH_BUCKETS];
	double		sum[CPM_GROWTH_BUCKETS];
} CpmBuckets;

typedef struct CpmGrowth
{
	TimestampTz now;
	int64		oldest_age_us;	/* of the oldest value that was added */
	CpmBuckets	slow;			/* five minutes */
	CpmBuckets	fast;			/* the last of them, finer */
} CpmGrowth;

extern void cpm_growth_begin(CpmGrowth *growth, TimestampTz now);

/* Add a value; one from the future or older than the span is passed over. */
extern void cpm_growth_add(CpmGrowth *growth, TimestampTz at, double value);

/* Growth per second; NaN while less than a minute is known. */
extern double cpm_growth_per_second(const CpmGrowth *growth);

/*
 * Seconds until total reaches limit at that growth: 0 when it is there already,
 * infinity when it does not grow or is under half of the limit, NaN when the
 * growth is not known.
 */
extern double cpm_growth_exhaustion_seconds(double per_second, double total, double limit);

#endif							/* CPM_GROWTH_H */
