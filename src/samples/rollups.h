/* SPDX-License-Identifier: PostgreSQL */
/*
 * rollups.h
 *		What samples come to by the minute, for a week, and by the hour, for a year.
 */
#ifndef CPM_ROLLUPS_H
#define CPM_ROLLUPS_H

#include "base/stream.h"
#include "samples/sample_ring.h"

#define CPM_MINUTES_KEPT (7 * 24 * 60)
#define CPM_HOURS_KEPT (366 * 24)

/* Tiers of connpool_history(), the finest first. */
typedef enum CpmRollup
{
	CPM_ROLLUP_SAMPLES,			/* samples/sample_ring */
	CPM_ROLLUP_MINUTES,
	CPM_ROLLUP_HOURS
} CpmRollup;

/* What the samples of a stretch of time come to. Of no sample: NaN. */
typedef struct CpmRollupRow
{
	TimestampTz start;
	float4		mean[CPM_METRICS];
	float4		worst[CPM_METRICS]; /* the highest; where low is bad, the lowest */
	uint16		samples[CPM_METRICS];	/* in which the metric was known */
} CpmRollupRow;

typedef void (*CpmRollupVisitor) (const CpmRollupRow *row, void *arg);

extern Size cpm_rollups_size(void);
extern void cpm_rollups_attach(void *memory, bool is_new);

/* Add a sample to the minute and the hour that it falls into. The sampler only; cannot fail. */
extern void cpm_rollups_add(const CpmSampleRow *sample, const CpmMetric *catalogue);

/*
 * Visit the stretches that begin from since to until, that under way included, in
 * the order in which they were begun. Any process; takes no lock and never
 * holds up the sampler. Not for CPM_ROLLUP_SAMPLES.
 */
extern void cpm_rollup_scan(CpmRollup tier, TimestampTz since, TimestampTz until,
							CpmRollupVisitor visit, void *arg);

/* Microseconds of a stretch of the tier. Not for CPM_ROLLUP_SAMPLES. */
extern int64 cpm_rollup_length_us(CpmRollup tier);

/* Start anew. Any process. */
extern void cpm_rollups_reset(void);

/*
 * metric_of[i] is the metric of column i of the source, or -1; so many columns.
 * Loading is for the postmaster, before anybody else is there.
 */
extern void cpm_rollups_save(CpmSink *sink);
extern bool cpm_rollups_load(CpmSource *source, const int *metric_of, int columns);

#endif							/* CPM_ROLLUPS_H */
