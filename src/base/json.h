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

/* null for a null pointer, and for what is no number */
extern void cpm_json_text(StringInfo json, const char *key, const char *value);
extern void cpm_json_number(StringInfo json, const char *key, double value);
extern void cpm_json_bool(StringInfo json, const char *key, bool value);

/* ISO 8601, UTC, milliseconds, Z */
extern void cpm_json_time(StringInfo json, const char *key, TimestampTz value);

#endif							/* CPM_JSON_H */
