/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample_ring.h
 *		The samples of the last hour, in a ring of fixed size.
 */
#ifndef CPM_SAMPLE_RING_H
#define CPM_SAMPLE_RING_H

#include "base/growth.h"
#include "base/sample.h"
#include "base/stream.h"

/* An hour at one second, and a minute more so that an hour is always whole. */
#define CPM_HISTORY_SAMPLES 3660

typedef struct CpmSampleRow
{
	TimestampTz at;
	int			interval_ms;	/* sample_interval when it was taken */
	float4		value[CPM_METRICS]; /* NaN where unknown, infinity as in CpmSample */
	float4		peak_connections;	/* the most sessions open at once since the row before */
} CpmSampleRow;

typedef void (*CpmSampleRowVisitor) (const CpmSampleRow *row, void *arg);

extern Size cpm_sample_ring_size(void);
extern void cpm_sample_ring_attach(void *memory, bool is_new);

/*
 * The worst that happened since the sample before: the sample's value, but for
 * what is counted between samples.
 */
static inline float4
cpm_sample_row_worst(const CpmSampleRow *row, CpmMetricId id)
{
	return id == CPM_TOTAL_CONNECTIONS ? Max(row->value[id], row->peak_connections) : row->value[id];
}

/* Add a sample. The sampler only; takes no lock, cannot fail. */
extern void cpm_sample_ring_append(const CpmSampleRow *row);

/*
 * Visit the rows taken from since to until, oldest first. Any process; takes
 * no lock and never holds up the sampler: rows that it overwrites meanwhile
 * are left out. Nothing is visited when the library is not preloaded.
 */
extern void cpm_sample_ring_scan(TimestampTz since, TimestampTz until,
								 CpmSampleRowVisitor visit, void *arg);

/* Start anew: rows so far are not shown any more. Any process. */
extern void cpm_sample_ring_reset(void);

/* Add the rows within growth's span that this server took itself, one metric of each. */
extern void cpm_sample_ring_add_growth(CpmGrowth *growth, CpmMetricId id);

/* As in samples/rollups. */
extern void cpm_sample_ring_save(CpmSink *sink);
extern bool cpm_sample_ring_load(CpmSource *source, const int *metric_of, int columns);

#endif							/* CPM_SAMPLE_RING_H */
