/* SPDX-License-Identifier: PostgreSQL */
/*
 * prometheus.h
 *		Writes the text formats of Prometheus (0.0.4) and OpenMetrics (1.0), sample by
 *		sample.
 */
#ifndef CPM_PROMETHEUS_H
#define CPM_PROMETHEUS_H

#include "base/histogram.h"
#include "lib/stringinfo.h"

typedef struct CpmExposition
{
	StringInfo	text;
	bool		openmetrics;
	bool		only_ascii;		/* in labels: the reader's encoding has no more */
	const char *family;			/* that is being written, without the prefix */
	const char *suffix;			/* of its samples */
	bool		has_labels;		/* the sample under way */
} CpmExposition;

typedef enum CpmFamilyType
{
	CPM_GAUGE,
	CPM_COUNTER,				/* its samples end in _total, its name does not */
	CPM_HISTOGRAM
} CpmFamilyType;

/* Begin a family: all its samples follow. help is one line without backslashes. */
extern void cpm_family(CpmExposition *exposition, const char *name, CpmFamilyType type,
					   const char *help);

/* A sample: its labels in turn, then its value. Not shown when it is no number. */
extern void cpm_sample_begin(CpmExposition *exposition);
extern void cpm_sample_label(CpmExposition *exposition, const char *name, const char *value);
extern void cpm_sample_end(CpmExposition *exposition, double value);

/* A sample without labels, and one with a single label. */
extern void cpm_sample_alone(CpmExposition *exposition, double value);
extern void cpm_sample_of(CpmExposition *exposition, const char *label, const char *of, double value);

/*
 * Everything of a family of durations in seconds: counts below each bound, the sum and
 * the number. Bounds are microseconds and bounds of buckets.
 */
extern void cpm_sample_histogram(CpmExposition *exposition, const CpmHistogram *histogram,
								 uint64 sum_us, const double *bounds_us, int bounds);

extern void cpm_exposition_end(CpmExposition *exposition);

#endif							/* CPM_PROMETHEUS_H */
