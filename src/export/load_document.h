/* SPDX-License-Identifier: PostgreSQL */
/*
 * load_document.h
 *		The load by wait class as one of two JSON documents: the recent load with its history,
 *		or the load at a past moment.
 */
#ifndef CPM_LOAD_DOCUMENT_H
#define CPM_LOAD_DOCUMENT_H

#include "lib/stringinfo.h"

/*
 * If at is NULL, append the load of the last minute and the last hour, and its history from since
 * to until. Otherwise append the load at that moment, from the session history. Times have the
 * forms that cpm_write_history() accepts. If one is invalid, or at is combined with the others,
 * appends a document with the error instead and returns false. If the session history must be read
 * from the disk first, also returns false after appending an error, and sets *is_pending to true:
 * the caller can repeat the request in a second. Reads no catalogs and does not wait for the disk.
 */
extern bool cpm_write_load(StringInfo json, const char *at, const char *since, const char *until,
						   bool *is_pending);

#endif							/* CPM_LOAD_DOCUMENT_H */
