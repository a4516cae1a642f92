/* SPDX-License-Identifier: PostgreSQL */
/*
 * json.c
 *		Appends JSON text to a string, key by key.
 */
#include "postgres.h"

#include <math.h>

#include "base/json.h"
#include "base/sample.h"
#include "base/set_back.h"
#include "base/utf8.h"
#include "pgtime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* Append a comma unless this is the first value of its object or array, then the key if any. */
static void
begin_value(StringInfo json, const char *key)
{
	char		last = json->len > 0 ? json->data[json->len - 1] : '{';

	if (last != '{' && last != '[')
		appendStringInfoChar(json, ',');
	if (key)
	{
		escape_json(json, key);
		appendStringInfoChar(json, ':');
	}
}

void
cpm_json_open(StringInfo json, const char *key)
{
	begin_value(json, key);
	appendStringInfoChar(json, '{');
}

void
cpm_json_close(StringInfo json)
{
	appendStringInfoChar(json, '}');
}

void
cpm_json_open_array(StringInfo json, const char *key)
{
	begin_value(json, key);
	appendStringInfoChar(json, '[');
}

void
cpm_json_close_array(StringInfo json)
{
	appendStringInfoChar(json, ']');
}

/* Append a string of unknown encoding. is_name doubles ambiguous backslashes. */
static void
append_valid_text(StringInfo json, const char *key, const char *value, bool is_name)
{
	char	   *valid = cpm_valid_utf8(value, false, is_name);

	cpm_json_text(json, key, valid);
	pfree(valid);
}

void
cpm_json_foreign_text(StringInfo json, const char *key, const char *value)
{
	append_valid_text(json, key, value, false);
}

void
cpm_json_foreign_name(StringInfo json, const char *key, const char *value)
{
	append_valid_text(json, key, value, true);
}

void
cpm_json_pool_name(StringInfo json, const CpmPoolName *name)
{
	cpm_json_foreign_name(json, "database", name->database);
	cpm_json_foreign_name(json, "role", name->role);
	cpm_json_foreign_text(json, "application", name->application_name);
}

void
cpm_json_text(StringInfo json, const char *key, const char *value)
{
	begin_value(json, key);
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

void
cpm_json_number(StringInfo json, const char *key, double value)
{
	begin_value(json, key);
	if (!cpm_is_number(value))
		appendStringInfoString(json, "null");
	else if (value == floor(value) && fabs(value) < 1e15)
		appendStringInfo(json, "%.0f", value);
	else
		appendStringInfo(json, "%.12g", value);
}

void
cpm_json_bool(StringInfo json, const char *key, bool value)
{
	begin_value(json, key);
	appendStringInfoString(json, value ? "true" : "false");
}

void
cpm_json_time(StringInfo json, const char *key, TimestampTz value)
{
	struct pg_tm tm;
	fsec_t		fsec;

	begin_value(json, key);
	if (timestamp2tm(value, NULL, &tm, &fsec, NULL, NULL) != 0)
	{
		appendStringInfoString(json, "null");
		return;
	}
	appendStringInfo(json, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"",
					 tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
					 (int) (fsec / 1000));
}

void
cpm_json_past_time(StringInfo json, const char *key, TimestampTz value)
{
	cpm_json_time_or_null(json, key, cpm_past_time(value));
}

void
cpm_json_time_or_null(StringInfo json, const char *key, TimestampTz value)
{
	if (value != 0)
		cpm_json_time(json, key, value);
	else
		cpm_json_text(json, key, NULL);
}
