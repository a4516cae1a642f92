/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample_ring.h
 *		The samples of the last hour.
 */
#ifndef CPM_SAMPLE_RING_H
#define CPM_SAMPLE_RING_H

#include "base/growth.h"
#include "base/sample.h"
#include "base/stream.h"
#include "base/wait_class.h"

/* An hour, and a minute to spare, at the default sample_interval of one second. */
#define CPM_HISTORY_SAMPLES 3660

typedef struct CpmSampleRow
{
	TimestampTz at;
	int			interval_ms;	/* sample_interval at that time */
	float4		peak_connections;	/* most sessions open at once since the previous sample */
	float4		busy[CPM_WAIT_CLASSES]; /* busy sessions by CpmWaitClass */
	float4		value[CPM_METRICS]; /* NaN if unknown; infinity as in CpmSample */
} CpmSampleRow;

typedef void (*CpmSampleRowVisitor) (const CpmSampleRow *row, void *arg);

extern Size cpm_sample_ring_size(void);
extern void cpm_sample_ring_attach(void *memory, bool is_new);

/*
 * Return the worst value of the metric since the previous sample. That is the sampled value,
 * except for total_connections: its peak between samples is recorded as well.
 */
static inline float4
cpm_sample_row_worst(const CpmSampleRow *row, CpmMetricId id)
{
	return id == CPM_TOTAL_CONNECTIONS ?
		Max(row->value[id], row->peak_connections) : row->value[id];
}

/* Append a sample. Sampler only; takes no lock, cannot fail. */
extern void cpm_sample_ring_append(const CpmSampleRow *row);

/*
 * Visit copies of the rows taken between since and until (inclusive), oldest first. Skips rows
 * that the sampler overwrites meanwhile. Any process; takes no lock and never delays the sampler.
 * Visits nothing if the library is not preloaded.
 */
extern void cpm_sample_ring_scan(TimestampTz since, TimestampTz until,
								 CpmSampleRowVisitor visit, void *arg);

/* Hide all rows from readers. Any process. */
extern void cpm_sample_ring_reset(void);

/*
 * Add the metric's value in each row of the last CPM_GROWTH_SPAN_US to growth. Omits rows that
 * were loaded at startup, because connections before a restart do not predict the growth after it.
 * Any process; takes no lock. Adds nothing if the library is not preloaded.
 */
extern void cpm_sample_ring_add_growth(CpmGrowth *growth, CpmMetricId id);

/* The rows in the statistics file. */
extern const CpmFilePart cpm_samples_part;

#endif							/* CPM_SAMPLE_RING_H */
