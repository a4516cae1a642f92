/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy.h
 *		How many sessions of a pool were busy, and for how long: a distribution over
 *		time, and its percentiles. A plain value.
 *
 * What is old weighs less: whenever all buckets together come to two weeks, each is
 * halved. The whole time is known besides, for who divides other counts by it.
 *
 * Exact up to 127 sessions; above that, buckets a sixteenth as wide as the number
 * they begin with.
 */
#ifndef CPM_BUSY_H
#define CPM_BUSY_H

#include "c.h"

#define CPM_BUSY_EXACT 128
#define CPM_BUSY_STEPS 16		/* buckets of an octave above that */
#define CPM_BUSY_OCTAVES 11		/* up to PostgreSQL's MAX_BACKENDS */
#define CPM_BUSY_BUCKETS (CPM_BUSY_EXACT + CPM_BUSY_OCTAVES * CPM_BUSY_STEPS)

typedef struct CpmBusy
{
	uint32		samples;		/* that were taken while the pool had sessions */
	uint32		weight;			/* tenths of a second of all buckets together */
	uint64		observed_tenths;	/* of a second, none of it ever halved */
	uint32		tenths[CPM_BUSY_BUCKETS];	/* of a second: the time they stand for */
} CpmBusy;

extern int	cpm_busy_bucket(uint32 sessions);

/* The most sessions that fall into a bucket. */
extern uint32 cpm_busy_upper(int bucket);

/* So many were busy for some tenths of a second. */
extern void cpm_busy_add(CpmBusy *busy, uint32 sessions, uint32 tenths);

/* The number that was not exceeded for that share (0 to 1) of the time; 0 of no time. */
extern uint32 cpm_busy_percentile(const CpmBusy *busy, double share);

/* The mean number; 0 of no time. */
extern double cpm_busy_mean(const CpmBusy *busy);

#endif							/* CPM_BUSY_H */
