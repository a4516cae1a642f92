/* SPDX-License-Identifier: PostgreSQL */
/*
 * histogram.h
 *		Buckets for durations, and what can be read off counts in them.
 *
 * Log-linear: below 8 us a bucket for each microsecond, above it eight equal
 * ones for each power of two, so that no bucket is wider than an eighth of its
 * lower bound. The last has no upper bound and begins at 35.8 hours. Durations
 * are whole microseconds. Finding a bucket is a few shifts, no table.
 */
#ifndef CPM_HISTOGRAM_H
#define CPM_HISTOGRAM_H

#include "port/pg_bitutils.h"

#define CPM_SUB_BUCKET_BITS 3
#define CPM_SUB_BUCKETS (1 << CPM_SUB_BUCKET_BITS)
#define CPM_OCTAVES 34
#define CPM_BUCKETS (CPM_SUB_BUCKETS * (CPM_OCTAVES + 1))

/* How many durations fell into each bucket. */
typedef struct CpmHistogram
{
	uint64		count[CPM_BUCKETS];
} CpmHistogram;

/* The bucket of a duration. */
static inline unsigned int
cpm_bucket_of(uint64 us)
{
	unsigned int octave;

	if (us < CPM_SUB_BUCKETS)
		return (unsigned int) us;
	octave = pg_leftmost_one_pos64(us) - CPM_SUB_BUCKET_BITS;
	if (octave >= CPM_OCTAVES)
		return CPM_BUCKETS - 1;
	/* the leading one and the three bits after it are 8 to 15 */
	return octave * CPM_SUB_BUCKETS + (unsigned int) (us >> octave);
}

/* The smallest duration of a bucket; of CPM_BUCKETS, infinity. */
extern double cpm_bucket_lower_us(int bucket);

extern uint64 cpm_histogram_total(const CpmHistogram *histogram);

/* What has been added since an earlier state; nothing below zero. */
extern void cpm_histogram_subtract(CpmHistogram *histogram, const CpmHistogram *earlier);

extern void cpm_histogram_add(CpmHistogram *histogram, const CpmHistogram *other);

/*
 * The duration that a fraction (0 to 1) of all do not exceed, by nearest rank,
 * taken linearly within its bucket; NaN when there are none. A known maximum
 * (NaN when it is not) bounds the answer.
 */
extern double cpm_histogram_percentile_us(const CpmHistogram *histogram, double fraction,
										  double max_us);

#endif							/* CPM_HISTOGRAM_H */
