/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_document.h
 *		The history of one metric as a JSON document for a chart.
 */
#ifndef CPM_HISTORY_DOCUMENT_H
#define CPM_HISTORY_DOCUMENT_H

#include "lib/stringinfo.h"

/*
 * Append the history of a metric from since to until, merged into at most about 600 points. since
 * and until are ages ("300s", "5m", "6h", "30d"), seconds since 1970, or ISO 8601 in UTC; NULL
 * means an hour ago for since, and now for until. If metric is NULL or unknown, or a time is
 * invalid, appends a document with the error instead and returns false. Reads no catalogs.
 */
extern bool cpm_write_history(StringInfo json, const char *metric, const char *since,
							  const char *until);

#endif							/* CPM_HISTORY_DOCUMENT_H */
