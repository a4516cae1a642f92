/* SPDX-License-Identifier: PostgreSQL */
/*
 * histogram.h
 *		A log-linear histogram of durations, and percentiles computed from it.
 *
 * Durations are whole microseconds. Below 8 us each has its own bucket; from there on each power
 * of two has eight equal buckets, so that no bucket is wider than an eighth of its lower bound.
 * The last bucket begins at 35.8 hours and has no upper bound. Every statement looks up a bucket,
 * so the lookup is a few shifts and needs no table.
 *
 * A plain value without locks.
 */
#ifndef CPM_HISTOGRAM_H
#define CPM_HISTOGRAM_H

#include "port/pg_bitutils.h"

#define CPM_SUB_BUCKET_BITS 3
#define CPM_SUB_BUCKETS (1 << CPM_SUB_BUCKET_BITS)
#define CPM_OCTAVES 34			/* powers of two from 8 us on */
#define CPM_BUCKETS (CPM_SUB_BUCKETS * (CPM_OCTAVES + 1))

typedef struct CpmHistogram
{
	uint64		count[CPM_BUCKETS]; /* durations in each bucket */
} CpmHistogram;

/* Return the bucket of a duration. */
static inline unsigned int
cpm_bucket_of(uint64 us)
{
	unsigned int octave;

	if (us < CPM_SUB_BUCKETS)
		return (unsigned int) us;
	octave = pg_leftmost_one_pos64(us) - CPM_SUB_BUCKET_BITS;
	if (octave >= CPM_OCTAVES)
		return CPM_BUCKETS - 1;
	/* us >> octave keeps the leading one and three more bits: 8 to 15 */
	return octave * CPM_SUB_BUCKETS + (unsigned int) (us >> octave);
}

/* Return the smallest duration of a bucket; infinity for CPM_BUCKETS. */
extern double cpm_bucket_lower_us(int bucket);

extern uint64 cpm_histogram_total(const CpmHistogram *histogram);

/* Subtract an earlier snapshot bucket by bucket; a negative difference becomes zero. */
extern void cpm_histogram_subtract(CpmHistogram *histogram, const CpmHistogram *earlier);

extern void cpm_histogram_add(CpmHistogram *histogram, const CpmHistogram *other);

/*
 * Return the percentile for a fraction from 0 to 1, in microseconds: by nearest rank, interpolated
 * linearly within the bucket of that rank. max_us is the longest duration, or NaN if unknown. It
 * limits the result, but not to less than the lower bound of the bucket. Returns NaN for an empty
 * histogram.
 */
extern double cpm_histogram_percentile_us(const CpmHistogram *histogram, double fraction,
										  double max_us);

#endif							/* CPM_HISTOGRAM_H */
