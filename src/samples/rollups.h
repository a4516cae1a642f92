/* SPDX-License-Identifier: PostgreSQL */
/*
 * rollups.h
 *		Aggregates of samples: by minute for a week, and by hour for a year.
 */
#ifndef CPM_ROLLUPS_H
#define CPM_ROLLUPS_H

#include "base/stream.h"
#include "base/wait_class.h"
#include "samples/sample_ring.h"

#define CPM_MINUTES_KEPT (7 * 24 * 60)
#define CPM_HOURS_KEPT (366 * 24)

/* The resolutions of connpool_history(), the finest first. */
typedef enum CpmRollup
{
	CPM_ROLLUP_SAMPLES,			/* single samples, see samples/sample_ring */
	CPM_ROLLUP_MINUTES,
	CPM_ROLLUP_HOURS
} CpmRollup;

/* The aggregates of all samples of one minute or hour. */
typedef struct CpmRollupRow
{
	TimestampTz start;			/* of the minute or hour */
	float4		mean[CPM_METRICS];	/* NaN, as is worst, if no sample had a finite value */
	float4		worst[CPM_METRICS]; /* the highest; the lowest for metrics where low is bad */
	uint16		samples[CPM_METRICS];	/* number of samples with a finite value, up to 65,535 */
	uint16		all_samples;	/* number of samples, up to 65,535 */
	float4		busy[CPM_WAIT_CLASSES]; /* mean number of busy sessions by CpmWaitClass */
} CpmRollupRow;

typedef void (*CpmRollupVisitor) (const CpmRollupRow *row, void *arg);

extern Size cpm_rollups_size(void);
extern void cpm_rollups_attach(void *memory, bool is_new);

/* Add a sample to its minute and its hour. Sampler only; cannot fail. */
extern void cpm_rollups_add(const CpmSampleRow *sample, const CpmMetric *catalogue);

/*
 * Visit copies of the rows whose minute or hour overlaps the time from since to until (inclusive),
 * among them the unfinished row, in the order in which they were begun. Skips rows that the
 * sampler overwrites meanwhile. Any process; takes no lock and never delays the sampler. For
 * CPM_ROLLUP_SAMPLES call cpm_sample_ring_scan(). Visits nothing if the library is not preloaded.
 */
extern void cpm_rollup_scan(CpmRollup resolution, TimestampTz since, TimestampTz until,
							CpmRollupVisitor visit, void *arg);

/* Return the microseconds that a row of that resolution covers. Not for CPM_ROLLUP_SAMPLES. */
extern int64 cpm_rollup_length_us(CpmRollup resolution);

/* Hide all rows from readers. Any process. */
extern void cpm_rollups_reset(void);

/* The visible rows of minutes and hours in the statistics file. */
extern const CpmFilePart cpm_rollups_part;

#endif							/* CPM_ROLLUPS_H */
