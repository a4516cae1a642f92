/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_document.h
 *		One metric over time, as a JSON document for a chart.
 */
#ifndef CPM_HISTORY_DOCUMENT_H
#define CPM_HISTORY_DOCUMENT_H

#include "lib/stringinfo.h"

/*
 * Append the document: at most 600 points from since to until. A moment is so long
 * ago ("300s", "5m", "6h", "30d"), seconds since 1970, or ISO 8601 in UTC; NULL is an
 * hour ago, and now. False with an error document when there is no such metric or
 * moment. Needs no catalogs.
 */
extern bool cpm_write_history(StringInfo json, const char *metric, const char *since,
							  const char *until);

#endif							/* CPM_HISTORY_DOCUMENT_H */
