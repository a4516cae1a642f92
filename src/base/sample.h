/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample.h
 *		A sample: the state of all connections at one moment.
 *
 * Filled by one function (samples/take_sample.c) for SQL, alerts and history alike,
 * so that they cannot disagree. A plain value: no pointers.
 */
#ifndef CPM_SAMPLE_H
#define CPM_SAMPLE_H

#include <math.h>

#include "base/metric.h"
#include "datatype/timestamp.h"

typedef struct CpmSample
{
	TimestampTz taken_at;
	int			sources;		/* CPM_SOURCE_… bits that existed */
	int			max_connections;
	int			usable_slots;	/* an ordinary role's share of max_connections */

	/*
	 * By CpmMetricId, in the metric's unit. NaN: not known now. Infinity (only
	 * exhaustion_seconds): known not to be in sight. Both are shown as NULL, but the first
	 * freezes an alert's timers and the second clears it.
	 */
	double		value[CPM_METRICS];
	double		pooled_connections; /* that come through a PgBouncer; NaN: not known */
} CpmSample;

/* Can this value be shown as a number? */
static inline bool
cpm_is_number(double value)
{
	return !isnan(value) && !isinf(value);
}

#endif							/* CPM_SAMPLE_H */
