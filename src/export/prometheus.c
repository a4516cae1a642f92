/* SPDX-License-Identifier: PostgreSQL */
/*
 * prometheus.c
 *		Writer for the text formats of Prometheus (0.0.4) and OpenMetrics (1.0).
 *
 * The formats differ in two ways. The name of a counter's family ends in _total only in
 * Prometheus' format, whereas the names of its samples do so in both. An OpenMetrics text ends
 * with a mark.
 */
#include "postgres.h"

#include <math.h>

#include "base/sample.h"
#include "base/utf8.h"
#include "counters/monotonic_counters.h"
#include "export/prometheus.h"
#include "utils/builtins.h"
#include "utils/float.h"

#define PREFIX "connpool_"

/* Append a line about a family. appendStringInfo() would take several times as long. */
static void
append_metadata(StringInfo text, const char *keyword, const char *name, const char *suffix,
				const char *value)
{
	appendStringInfoString(text, keyword);
	appendStringInfoString(text, name);
	appendStringInfoString(text, suffix);
	appendStringInfoChar(text, ' ');
	appendStringInfoString(text, value);
	appendStringInfoChar(text, '\n');
}

void
cpm_family_begin(CpmExposition *exposition, const char *name, CpmFamilyType type, const char *help)
{
	static const char *const types[] = {"gauge", "counter", "histogram"};
	const char *suffix = type == CPM_COUNTER && !exposition->openmetrics ? "_total" : "";

	exposition->family = name;
	exposition->suffix = type == CPM_COUNTER ? "_total" : "";
	append_metadata(exposition->text, "# HELP " PREFIX, name, suffix, help);
	append_metadata(exposition->text, "# TYPE " PREFIX, name, suffix, types[type]);
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

/* Append valid UTF-8, escaped. Appends each run of characters that need no escape at once. */
static void
append_escaped(StringInfo text, const char *value)
{
	for (size_t run; *value != '\0'; value += run > 0 ? run : 1)
	{
		run = strcspn(value, "\\\"\n");
		if (run > 0)
			appendBinaryStringInfo(text, value, (int) run);
		else
		{
			appendStringInfoChar(text, '\\');
			appendStringInfoChar(text, *value == '\n' ? 'n' : *value);
		}
	}
}

/*
 * Return true if the value is printable ASCII without backslashes and quotes, as most values are:
 * then neither cpm_valid_utf8() nor append_escaped() would change it.
 */
static bool
is_plain_label(const char *value)
{
	while (*value >= ' ' && *value <= '~' && *value != '\\' && *value != '"')
		value++;
	return *value == '\0';
}

/*
 * Append a label. cpm_valid_utf8() replaces invalid bytes by escapes such as \xff, and doubles
 * backslashes that readers could mistake for parts of an escape. Set is_ascii for an application
 * name: PostgreSQL has already replaced the bytes outside ASCII, so cpm_valid_utf8() writes no
 * escapes and need not double backslashes.
 */
static void
append_label(CpmExposition *exposition, const char *name, const char *value, bool is_ascii)
{
	appendStringInfoChar(exposition->text, exposition->has_labels ? ',' : '{');
	appendStringInfoString(exposition->text, name);
	appendStringInfoString(exposition->text, "=\"");
	if (is_plain_label(value))
		appendStringInfoString(exposition->text, value);
	else
		append_escaped(exposition->text,
					   cpm_valid_utf8(value, exposition->only_ascii, !is_ascii));
	appendStringInfoChar(exposition->text, '"');
	exposition->has_labels = true;
}

void
cpm_sample_label(CpmExposition *exposition, const char *name, const char *value)
{
	append_label(exposition, name, value, false);
}

/* Append an integer. Most values are integers, for which this is many times faster than %g. */
static void
append_integer(StringInfo text, int64 value)
{
	char		digits[MAXINT8LEN + 1];

	appendBinaryStringInfo(text, digits, pg_lltoa(value, digits));
}

/* Append a value as %.15g formats it, but use the faster append_integer() for integers. */
static void
append_value(StringInfo text, double value)
{
	if (isnan(value))
		appendStringInfoString(text, "NaN");
	else if (isinf(value))
		appendStringInfoString(text, value > 0 ? "+Inf" : "-Inf");
	else if (value == floor(value) && fabs(value) < 1e15)
		append_integer(text, (int64) value);
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
cpm_sample_unlabeled(CpmExposition *exposition, double value)
{
	cpm_sample_begin(exposition);
	cpm_sample_end(exposition, value);
}

void
cpm_sample_labeled(CpmExposition *exposition, const char *label_name, const char *label_value,
				   double value)
{
	cpm_sample_begin(exposition);
	cpm_sample_label(exposition, label_name, label_value);
	cpm_sample_end(exposition, value);
}

void
cpm_pool_sample_begin(CpmExposition *exposition, const CpmPoolName *name)
{
	cpm_sample_begin(exposition);
	cpm_sample_label(exposition, "database", name ? name->database : CPM_SERIES_OTHER);
	cpm_sample_label(exposition, "role", name ? name->role : CPM_SERIES_OTHER);
	append_label(exposition, "application", name ? name->application_name : CPM_SERIES_OTHER,
				 true);
}

/* Append microseconds as seconds, with at least one decimal place. */
static void
append_seconds(StringInfo text, int64 us)
{
	char		decimals[7];
	int			length = 6;

	append_integer(text, us / USECS_PER_SEC);
	for (int64 rest = us % USECS_PER_SEC, i = 5; i >= 0; i--, rest /= 10)
		decimals[i] = (char) ('0' + rest % 10);
	while (length > 1 && decimals[length - 1] == '0')
		length--;
	appendStringInfoChar(text, '.');
	appendBinaryStringInfo(text, decimals, length);
}

/*
 * Append the sample of one bucket: the number of all durations below bound_us. cpm_sample_end()
 * closes the brace of the label.
 */
static void
append_bucket(CpmExposition *exposition, double bound_us, uint64 count)
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
		int			end = i < bounds ? (int) cpm_bucket_of((uint64) bound_us) : CPM_BUCKETS;

		while (bucket < end)
			count += histogram->count[bucket++];
		append_bucket(exposition, bound_us, count);
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
