/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_document.h
 *		The history of one metric as a JSON document for a chart, and functions for the history
 *		in other documents.
 */
#ifndef CPM_HISTORY_DOCUMENT_H
#define CPM_HISTORY_DOCUMENT_H

#include "lib/stringinfo.h"
#include "samples/rollups.h"

/* The part of the history that a document covers, divided into steps of equal length. */
typedef struct CpmDocumentSpan
{
	CpmRollup	rollup;
	TimestampTz since;			/* start of step 0 */
	TimestampTz until;
	int64		step_us;
} CpmDocumentSpan;

/*
 * Set the span from the times of a request, in the forms that cpm_write_history() accepts. If a
 * time is invalid, appends a document with the error instead and returns false.
 */
extern bool cpm_document_span(StringInfo json, const char *since, const char *until,
							  CpmDocumentSpan *span);

/*
 * Set the moment from the time of a request, in the same forms. If it is invalid or in the future,
 * appends a document with the error instead and returns false.
 */
extern bool cpm_document_moment(StringInfo json, const char *at, TimestampTz *moment);

/* Append a document with an error. Returns false. */
extern bool cpm_document_reject(StringInfo json, const char *error);

/* Append the keys since, until and stepMs. */
extern void cpm_document_write_span(StringInfo json, const CpmDocumentSpan *span);

/*
 * Return the number of the step to which the start of a point belongs. The first step includes the
 * point of the minute or hour that contains "since" and therefore starts before it.
 */
extern int64 cpm_document_step(const CpmDocumentSpan *span, TimestampTz at);

/* Return the start of a step, in milliseconds since 1970. */
extern double cpm_document_step_ms(const CpmDocumentSpan *span, int64 step);

/*
 * Append the history of a metric from since to until, merged into at most about 600 points. since
 * and until are ages ("300s", "5m", "6h", "30d"), seconds since 1970, or ISO 8601 in UTC; NULL
 * means an hour ago for since, and now for until. If metric is NULL or unknown, or a time is
 * invalid, appends a document with the error instead and returns false. Reads no catalogs.
 */
extern bool cpm_write_history(StringInfo json, const char *metric, const char *since,
							  const char *until);

#endif							/* CPM_HISTORY_DOCUMENT_H */
