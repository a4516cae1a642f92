/* SPDX-License-Identifier: PostgreSQL */
/*
 * metrics_text.h
 *		Everything as families of metrics, for Prometheus.
 */
#ifndef CPM_METRICS_TEXT_H
#define CPM_METRICS_TEXT_H

#include "lib/stringinfo.h"

/*
 * Append all families, in the text format 0.0.4 or as OpenMetrics 1.0. Any process
 * that cpm_sample_take() serves; needs no catalogs. The library must be preloaded.
 */
extern void cpm_write_metrics(StringInfo text, bool openmetrics);

#endif							/* CPM_METRICS_TEXT_H */
