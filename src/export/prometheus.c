/* SPDX-License-Identifier: PostgreSQL */
/*
 * prometheus.c
 *		Writes the text formats of Prometheus (0.0.4) and OpenMetrics (1.0), sample by
 *		sample.
 *
 * They differ in that a counter's family is named without _total in OpenMetrics,
 * which also ends with a mark.
 */
#include "postgres.h"

#include <math.h>

#include "base/sample.h"
#include "base/utf8.h"
#include "export/prometheus.h"
#include "utils/builtins.h"
#include "utils/float.h"

#define PREFIX "connpool_"

void
cpm_family(CpmExposition *exposition, const char *name, CpmFamilyType type, const char *help)
{
	static const char *const types[] = {"gauge", "counter", "histogram"};
	const char *suffix = type == CPM_COUNTER && !exposition->openmetrics ? "_total" : "";

	exposition->family = name;
	exposition->suffix = type == CPM_COUNTER ? "_total" : "";
	appendStringInfo(exposition->text, "# HELP " PREFIX "%s%s %s\n# TYPE " PREFIX "%s%s %s\n",
					 name, suffix, help, name, suffix, types[type]);
}

static void
begin_sample(CpmExposition *exposition, const char *suffix)
{
	appendStringInfoString(exposition->text, PREFIX);
	appendStringInfoString(exposition->text, exposition->family);
	appendStringInfoString(exposition->text, suffix);
	exposition->has_labels = false;
}

void
cpm_sample_begin(CpmExposition *exposition)
{
	begin_sample(exposition, exposition->suffix);
}

/* Plain characters in one piece each stretch; what is none is looked at. */
static void
append_escaped(StringInfo text, const char *value)
{
	for (size_t plain; *value != '\0'; value += plain > 0 ? plain : 1)
	{
		plain = strcspn(value, "\\\"\n");
		if (plain > 0)
			appendBinaryStringInfo(text, value, (int) plain);
		else
		{
			appendStringInfoChar(text, '\\');
			appendStringInfoChar(text, *value == '\n' ? 'n' : *value);
		}
	}
}

static bool
needs_no_escape(const char *value)
{
	while (*value > 0 && *value <= '~' && *value != '\\')
		value++;
	return *value == '\0';
}

void
cpm_sample_label(CpmExposition *exposition, const char *name, const char *value)
{
	appendStringInfoChar(exposition->text, exposition->has_labels ? ',' : '{');
	appendStringInfoString(exposition->text, name);
	appendStringInfoString(exposition->text, "=\"");
	append_escaped(exposition->text, needs_no_escape(value) ? value :
				   cpm_valid_utf8(value, exposition->only_ascii, true));
	appendStringInfoChar(exposition->text, '"');
	exposition->has_labels = true;
}

/* Most are: this is many times faster than to format a real number. */
static void
append_whole(StringInfo text, int64 value)
{
	char		digits[MAXINT8LEN + 1];

	appendBinaryStringInfo(text, digits, pg_lltoa(value, digits));
}

/* Whole numbers as such; what is no number as Prometheus spells it. */
static void
append_value(StringInfo text, double value)
{
	if (isnan(value))
		appendStringInfoString(text, "NaN");
	else if (isinf(value))
		appendStringInfoString(text, value > 0 ? "+Inf" : "-Inf");
	else if (value == floor(value) && fabs(value) < 1e15)
		append_whole(text, (int64) value);
	else
		appendStringInfo(text, "%.15g", value);
}

void
cpm_sample_end(CpmExposition *exposition, double value)
{
	if (exposition->has_labels)
		appendStringInfoChar(exposition->text, '}');
	appendStringInfoChar(exposition->text, ' ');
	append_value(exposition->text, value);
	appendStringInfoChar(exposition->text, '\n');
}

void
cpm_sample_alone(CpmExposition *exposition, double value)
{
	cpm_sample_begin(exposition);
	cpm_sample_end(exposition, value);
}

void
cpm_sample_of(CpmExposition *exposition, const char *label, const char *of, double value)
{
	cpm_sample_begin(exposition);
	cpm_sample_label(exposition, label, of);
	cpm_sample_end(exposition, value);
}

/* Microseconds as seconds, with at least one decimal place. */
static void
append_seconds(StringInfo text, int64 us)
{
	char		decimals[7];
	int			length = 6;

	append_whole(text, us / USECS_PER_SEC);
	for (int64 rest = us % USECS_PER_SEC, i = 5; i >= 0; i--, rest /= 10)
		decimals[i] = (char) ('0' + rest % 10);
	while (length > 1 && decimals[length - 1] == '0')
		length--;
	appendStringInfoChar(text, '.');
	appendBinaryStringInfo(text, decimals, length);
}

static void
sample_below(CpmExposition *exposition, double bound_us, uint64 count)
{
	begin_sample(exposition, "_bucket");
	appendStringInfoString(exposition->text, "{le=\"");
	if (isinf(bound_us))
		appendStringInfoString(exposition->text, "+Inf");
	else
		append_seconds(exposition->text, (int64) bound_us);
	appendStringInfoString(exposition->text, "\"");
	exposition->has_labels = true;
	cpm_sample_end(exposition, (double) count);
}

void
cpm_sample_histogram(CpmExposition *exposition, const CpmHistogram *histogram, uint64 sum_us,
					 const double *bounds_us, int bounds)
{
	uint64		count = 0;
	int			bucket = 0;

	for (int i = 0; i <= bounds; i++)
	{
		double		bound_us = i < bounds ? bounds_us[i] : get_float8_infinity();

		while (bucket < CPM_BUCKETS && cpm_bucket_lower_us(bucket) < bound_us)
			count += histogram->count[bucket++];
		sample_below(exposition, bound_us, count);
	}
	begin_sample(exposition, "_sum");
	cpm_sample_end(exposition, (double) sum_us / 1e6);
	begin_sample(exposition, "_count");
	cpm_sample_end(exposition, (double) count);
}

void
cpm_exposition_end(CpmExposition *exposition)
{
	if (exposition->openmetrics)
		appendStringInfoString(exposition->text, "# EOF\n");
}
