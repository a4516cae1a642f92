/* SPDX-License-Identifier: PostgreSQL */
/*
 * recorder_metrics.h
 *		The metric families of recorded events and of busy time.
 */
#ifndef CPM_RECORDER_METRICS_H
#define CPM_RECORDER_METRICS_H

#include "counters/monotonic_counters.h"
#include "export/prometheus.h"

/* Append the families of incidents, of waits for locks and of deadlocks. */
extern void cpm_write_recorded_events(CpmExposition *out, const CpmMonotonicTotals *totals);

/* Append the families of busy time, of the server and of pools. */
extern void cpm_write_recorded_load(CpmExposition *out, const CpmMonotonicCounters *monotonic);

#endif							/* CPM_RECORDER_METRICS_H */
