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
 * The library must be preloaded. Any process that may call cpm_sample_take() and
 * cpm_monotonic_read() may call this function; it takes their locks and reads no catalogs.
 */
extern void cpm_write_metrics(StringInfo text, bool openmetrics);

#endif							/* CPM_METRICS_TEXT_H */
