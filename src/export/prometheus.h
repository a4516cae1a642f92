/* SPDX-License-Identifier: PostgreSQL */
/*
 * prometheus.h
 *		Writer for the text formats of Prometheus (0.0.4) and OpenMetrics (1.0).
 */
#ifndef CPM_PROMETHEUS_H
#define CPM_PROMETHEUS_H

#include "base/histogram.h"
#include "base/pool.h"
#include "lib/stringinfo.h"

/*
 * An exposition (Prometheus' term for the text of all metrics) that is being written.
 * The caller sets the first three fields; the functions below maintain the others.
 */
typedef struct CpmExposition
{
	StringInfo	text;			/* the output */
	bool		openmetrics;	/* write OpenMetrics 1.0 rather than text format 0.0.4 */
	bool		only_ascii;		/* escape other bytes, because the reader may reject UTF-8 */
	const char *family;			/* the current family, without the prefix */
	const char *suffix;			/* of the names of the family's samples */
	bool		has_labels;		/* a label of the current sample has been written */
} CpmExposition;

typedef enum CpmFamilyType
{
	CPM_GAUGE,
	CPM_COUNTER,				/* the names of its samples end in _total */
	CPM_HISTOGRAM
} CpmFamilyType;

/*
 * Begin a family; all of its samples must follow before the next family begins. help is
 * one line without backslashes.
 */
extern void cpm_family_begin(CpmExposition *exposition, const char *name, CpmFamilyType type,
							 const char *help);

/* Append a sample of the current family: begin it, add its labels, end it with the value. */
extern void cpm_sample_begin(CpmExposition *exposition);
extern void cpm_sample_label(CpmExposition *exposition, const char *name, const char *value);
extern void cpm_sample_end(CpmExposition *exposition, double value);

/*
 * Begin a sample with the labels of a pool or, if name is NULL, of the series "other", which
 * several pools share.
 */
extern void cpm_pool_sample_begin(CpmExposition *exposition, const CpmPoolName *name);

/* Append a sample without labels. */
extern void cpm_sample_unlabeled(CpmExposition *exposition, double value);

/* Append a sample with a single label. */
extern void cpm_sample_labeled(CpmExposition *exposition, const char *label_name,
							   const char *label_value, double value);

/*
 * Append all samples of a histogram of durations, in seconds: the cumulative count below each
 * bound, the sum and the count. The bounds are in microseconds and ascending, and must be among
 * the bounds of the histogram's buckets.
 */
extern void cpm_sample_histogram(CpmExposition *exposition, const CpmHistogram *histogram,
								 uint64 sum_us, const double *bounds_us, int bounds);

/* Append the end mark, if the format is OpenMetrics. */
extern void cpm_exposition_end(CpmExposition *exposition);

#endif							/* CPM_PROMETHEUS_H */
