/* SPDX-License-Identifier: PostgreSQL */
/*
 * metrics_text.h
 *		All metrics in the formats that Prometheus scrapes.
 */
#ifndef CPM_METRICS_TEXT_H
#define CPM_METRICS_TEXT_H

#include "lib/stringinfo.h"

/*
 * Append all metric families in Prometheus' text format 0.0.4, or as OpenMetrics 1.0.
 * The library must be preloaded. Any process that may call cpm_sample_take() can call
 * this function; it reads no catalogs. Takes the locks of cpm_monotonic_read().
 */
extern void cpm_write_metrics(StringInfo text, bool openmetrics);

#endif							/* CPM_METRICS_TEXT_H */
