/* SPDX-License-Identifier: PostgreSQL */
/*
 * json.h
 *		Appends JSON text to a string, key by key.
 *
 * Unlike PostgreSQL's json functions it reads no catalogs, so background workers without a
 * database can use it too.
 *
 * Every function separates its value from the previous one by a comma where necessary. key is
 * NULL for the outermost value and within arrays.
 */
#ifndef CPM_JSON_H
#define CPM_JSON_H

#include "base/pool.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

extern void cpm_json_open(StringInfo json, const char *key);
extern void cpm_json_close(StringInfo json);

extern void cpm_json_open_array(StringInfo json, const char *key);
extern void cpm_json_close_array(StringInfo json);

/* Append a string, which must be valid UTF-8; a null pointer becomes null. */
extern void cpm_json_text(StringInfo json, const char *key, const char *value);

/*
 * Append a string of unknown encoding, which must not be NULL; each byte that is not part of valid
 * UTF-8 becomes an escape such as \xe9. In a name, a backslash that could be mistaken for part of
 * such an escape is doubled, so that different names stay different.
 */
extern void cpm_json_foreign_text(StringInfo json, const char *key, const char *value);
extern void cpm_json_foreign_name(StringInfo json, const char *key, const char *value);

/*
 * Append database, role and application. In an application name no backslash is doubled, because
 * PostgreSQL makes these names ASCII.
 */
extern void cpm_json_pool_name(StringInfo json, const CpmPoolName *name);

/* Append a number; NaN and infinity become null. */
extern void cpm_json_number(StringInfo json, const char *key, double value);
extern void cpm_json_bool(StringInfo json, const char *key, bool value);

/* Append a time as ISO 8601 in UTC, with milliseconds and Z. */
extern void cpm_json_time(StringInfo json, const char *key, TimestampTz value);

/* Append the time of a past event, corrected by cpm_past_time(); 0 becomes null. */
extern void cpm_json_past_time(StringInfo json, const char *key, TimestampTz value);

/* Append a time that may be in the future; 0 becomes null. */
extern void cpm_json_time_or_null(StringInfo json, const char *key, TimestampTz value);

#endif							/* CPM_JSON_H */
