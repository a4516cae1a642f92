/* SPDX-License-Identifier: PostgreSQL */
/*
 * json.h
 *		Writes JSON text, key by key. No catalogs, so it serves workers too.
 */
#ifndef CPM_JSON_H
#define CPM_JSON_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

/* key is NULL for the outermost object and within arrays */
extern void cpm_json_open(StringInfo json, const char *key);
extern void cpm_json_close(StringInfo json);

extern void cpm_json_open_array(StringInfo json, const char *key);
extern void cpm_json_close_array(StringInfo json);

/* null for a null pointer, and for what is no number */
extern void cpm_json_text(StringInfo json, const char *key, const char *value);

/* The same of names that come from elsewhere: what is no UTF-8 is written as "\xe9". */
extern void cpm_json_foreign_text(StringInfo json, const char *key, const char *value);
extern void cpm_json_number(StringInfo json, const char *key, double value);
extern void cpm_json_bool(StringInfo json, const char *key, bool value);

/* ISO 8601, UTC, milliseconds, Z */
extern void cpm_json_time(StringInfo json, const char *key, TimestampTz value);

/* The same; null for 0. */
extern void cpm_json_time_or_null(StringInfo json, const char *key, TimestampTz value);

#endif							/* CPM_JSON_H */
