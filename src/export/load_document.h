/* SPDX-License-Identifier: PostgreSQL */
/*
 * load_document.h
 *		The load by wait class as a JSON document: of the server, of pools, and over time.
 */
#ifndef CPM_LOAD_DOCUMENT_H
#define CPM_LOAD_DOCUMENT_H

#include "lib/stringinfo.h"

/*
 * Append the load of the last minute and the last hour, and its history from since to until. The
 * arguments are those of cpm_write_history(): if a time is invalid, appends a document with the
 * error instead and returns false. Reads no catalogs.
 */
extern bool cpm_write_load(StringInfo json, const char *since, const char *until);

#endif							/* CPM_LOAD_DOCUMENT_H */
