/* SPDX-License-Identifier: PostgreSQL */
/*
 * json.c
 *		Writes JSON text, key by key. No catalogs, so it serves workers too.
 */
#include "postgres.h"

#include <math.h>

#include "base/json.h"
#include "base/sample.h"
#include "base/utf8.h"
#include "pgtime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* A comma unless it is the first here, and the key. */
static void
begin(StringInfo json, const char *key)
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
	begin(json, key);
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
	begin(json, key);
	appendStringInfoChar(json, '[');
}

void
cpm_json_close_array(StringInfo json)
{
	appendStringInfoChar(json, ']');
}

void
cpm_json_foreign_text(StringInfo json, const char *key, const char *value)
{
	char	   *valid = cpm_valid_utf8(value, false, false);

	cpm_json_text(json, key, valid);
	pfree(valid);
}

void
cpm_json_text(StringInfo json, const char *key, const char *value)
{
	begin(json, key);
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

void
cpm_json_number(StringInfo json, const char *key, double value)
{
	begin(json, key);
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
	begin(json, key);
	appendStringInfoString(json, value ? "true" : "false");
}

void
cpm_json_time(StringInfo json, const char *key, TimestampTz value)
{
	struct pg_tm tm;
	fsec_t		fsec;

	begin(json, key);
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
cpm_json_time_or_null(StringInfo json, const char *key, TimestampTz value)
{
	if (value != 0)
		cpm_json_time(json, key, value);
	else
		cpm_json_text(json, key, NULL);
}
