/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_document.h
 *		The history of one metric as a JSON document for a chart.
 */
#ifndef CPM_HISTORY_DOCUMENT_H
#define CPM_HISTORY_DOCUMENT_H

#include "lib/stringinfo.h"

/*
 * Append the history of a metric from since to until, downsampled to about 600 points.
 * Each of since and until is an age ("300s", "5m", "6h", "30d"), seconds since 1970, or
 * ISO 8601 in UTC. A since of NULL means an hour ago, an until of NULL means now.
 * Returns false, after appending a document with the error, if metric is NULL or unknown
 * or if a time is invalid. Reads no catalogs.
 */
extern bool cpm_write_history(StringInfo json, const char *metric, const char *since,
							  const char *until);

#endif							/* CPM_HISTORY_DOCUMENT_H */
