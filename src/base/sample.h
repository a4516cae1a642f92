/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample.h
 *		A sample: the values of all metrics at one time.
 *
 * A single function (samples/take_sample.c) computes samples for SQL, alerts and history, so that
 * these cannot disagree. A plain value without pointers.
 */
#ifndef CPM_SAMPLE_H
#define CPM_SAMPLE_H

#include <math.h>

#include "base/metric.h"
#include "base/wait_class.h"
#include "datatype/timestamp.h"

typedef struct CpmSample
{
	TimestampTz taken_at;
	int			sources;		/* the CPM_SOURCE_... bits that were available */
	int			max_connections;
	int			usable_slots;	/* max_connections without the reserved slots */

	/*
	 * By CpmMetricId, in the metric's unit. NaN: unknown. Infinity (exhaustion_seconds only):
	 * exhaustion is not foreseeable. Both are shown as NULL, but NaN freezes an alert's timers
	 * and infinity clears the alert.
	 */
	double		value[CPM_METRICS];

	/*
	 * How much higher the value would be with the former settings, by CpmMetricId and in the
	 * metric's unit. The difference is due to sessions and transactions that the metric counted
	 * until a setting was changed. 0 unless the sampler took the sample.
	 */
	double		uncounted[CPM_METRICS];
	double		pooled_connections; /* connections from a PgBouncer; NaN: unknown */
	int			busy[CPM_WAIT_CLASSES]; /* busy sessions by CpmWaitClass */
} CpmSample;

/* Return true if the value can be shown as a number, false if it must be NULL. */
static inline bool
cpm_is_number(double value)
{
	return !isnan(value) && !isinf(value);
}

#endif							/* CPM_SAMPLE_H */
