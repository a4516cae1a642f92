/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy.h
 *		A distribution over time of the number of busy sessions in a pool.
 *
 * Each sample adds its duration to the bucket for the number of busy sessions that it found;
 * percentiles and the mean are weighted by time. Old samples must not dominate: whenever the
 * buckets add up to two weeks, all are halved. observed_tenths is never halved, because callers
 * divide other counts of the pool by it to compute rates.
 *
 * Buckets are exact up to 127 sessions. Above that, each power of two has sixteen buckets.
 *
 * A plain value without locks.
 */
#ifndef CPM_BUSY_H
#define CPM_BUSY_H

#include "c.h"

#define CPM_BUSY_EXACT 128		/* below this number, a bucket for each number */
#define CPM_BUSY_STEPS 16		/* buckets for each power of two from there on */
#define CPM_BUSY_OCTAVES 11		/* powers of two up to PostgreSQL's MAX_BACKENDS */
#define CPM_BUSY_BUCKETS (CPM_BUSY_EXACT + CPM_BUSY_OCTAVES * CPM_BUSY_STEPS)

typedef struct CpmBusy
{
	uint32		samples;		/* samples while the pool had sessions; halved with the buckets */
	uint32		weight;			/* sum of tenths[] */
	uint64		observed_tenths;	/* duration of all samples, never halved */
	uint32		tenths[CPM_BUSY_BUCKETS];	/* tenths of a second, by number of busy sessions */
} CpmBusy;

/* Return the bucket for a number of busy sessions. */
extern int	cpm_busy_bucket(uint32 sessions);

/* Return the largest number of sessions in a bucket. */
extern uint32 cpm_busy_upper(int bucket);

/* Record that a number of sessions were busy for some tenths of a second. */
extern void cpm_busy_add(CpmBusy *busy, uint32 sessions, uint32 tenths);

/*
 * Return the number of busy sessions that was not exceeded for that share (0 to 1) of the time;
 * 0 if nothing was recorded.
 */
extern uint32 cpm_busy_percentile(const CpmBusy *busy, double share);

/*
 * Return the mean number of busy sessions over time; 0 if nothing was recorded. Each bucket counts
 * with its upper bound, so above 127 sessions the mean is up to a sixteenth too high.
 */
extern double cpm_busy_mean(const CpmBusy *busy);

#endif							/* CPM_BUSY_H */
