/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_document.c
 *		The history of one metric as a JSON document for a chart, and functions for the history
 *		in other documents.
 *
 * The time is divided into at most MAX_POINTS steps, because a chart cannot show more. The points
 * of one step are merged into the mean of their means and the worst of their worst values.
 */
#include "postgres.h"

#include <math.h>

#include "base/json.h"
#include "base/settings.h"
#include "export/history_document.h"
#include "functions/series.h"
#include "pgtime.h"
#include "rules/catalogue.h"
#include "samples/rollups.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define MAX_POINTS 600
#define UNIX_EPOCH_US ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* The state of merging points into steps of equal length. */
typedef struct Downsampling
{
	StringInfo	json;
	CpmDocumentSpan span;
	bool		low_is_bad;
	int64		step;			/* the current step */
	int			points;			/* in the current step */
	double		sum;			/* of their means */
	double		worst;
} Downsampling;

/* Return the microseconds in a unit of an age, such as "5m"; 0 for an unknown unit. */
static int64
unit_us(const char *unit)
{
	static const struct
	{
		const char *name;
		int64		us;
	}			units[] = {
		{"s", USECS_PER_SEC}, {"m", USECS_PER_MINUTE}, {"min", USECS_PER_MINUTE},
		{"h", USECS_PER_HOUR}, {"d", USECS_PER_DAY},
	};

	for (size_t i = 0; i < lengthof(units); i++)
		if (strcmp(unit, units[i].name) == 0)
			return units[i].us;
	return 0;
}

/*
 * Return true if the rest of a time is empty or the time zone UTC. Accepts a space in place of
 * "+", because a "+" that the client did not escape in the URL decodes to a space.
 */
static bool
is_utc(const char *zone)
{
	return *zone == '\0' || strcmp(zone, "Z") == 0 || strcmp(zone, "+00:00") == 0 ||
		strcmp(zone, " 00:00") == 0;
}

/*
 * Parse a time such as 2026-11-24T03:00:00.000Z; returns false if the text has another form. The
 * zone may be Z, +00:00 or absent. The fraction, the seconds or the whole time of day may be
 * absent and are then zero.
 */
static bool
parse_iso(const char *text, TimestampTz *moment)
{
	struct pg_tm tm = {0};
	int			end = 0;
	double		seconds = 0;

	/* a mismatch ends the scan; the last %n before it stores the length that has matched */
	(void) sscanf(text, "%4d-%2d-%2d%n%*1[T ]%2d:%2d%n:%lf%n",
				  &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
				  &end, &tm.tm_hour, &tm.tm_min, &end, &seconds, &end);
	if (end == 0 || !is_utc(text + end))
		return false;
	if (!(seconds >= 0 && seconds < 61) || tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
		tm.tm_mday < 1 || tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1] ||
		tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59)
		return false;
	*moment = tm.tm_hour * USECS_PER_HOUR + tm.tm_min * USECS_PER_MINUTE +
		(int64) (seconds * USECS_PER_SEC) + USECS_PER_DAY *
		(int64) (date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE);
	return true;
}

/* Parse an age, seconds since 1970, or ISO 8601; returns false if the text is none of these. */
static bool
parse_moment(const char *text, TimestampTz now, TimestampTz *moment)
{
	char	   *end;
	double		number = strtod(text, &end);

	if (parse_iso(text, moment))
		return true;
	/* strtod() also accepts a sign, hexadecimal digits, an exponent, "inf" and "nan" */
	if (end == text || strspn(text, "0123456789.") != (size_t) (end - text) ||
		!(number >= 0 && number < 1e11))
		return false;
	if (*end == '\0')
		*moment = (TimestampTz) (number * USECS_PER_SEC) - UNIX_EPOCH_US;
	/* reject an age that reaches back beyond the year 2000, because the product may overflow */
	else if (unit_us(end) == 0 || number * (double) unit_us(end) > (double) now)
		return false;
	else
		*moment = now - (TimestampTz) (number * (double) unit_us(end));
	return true;
}

/* Append the current step as [milliseconds since 1970, mean, worst], unless it has no points. */
static void
finish_step(Downsampling *merge)
{
	if (merge->points == 0)
		return;
	cpm_json_open_array(merge->json, NULL);
	cpm_json_number(merge->json, NULL, cpm_document_step_ms(&merge->span, merge->step));
	cpm_json_number(merge->json, NULL, merge->sum / merge->points);
	cpm_json_number(merge->json, NULL, merge->worst);
	cpm_json_close_array(merge->json);
	merge->points = 0;
	merge->sum = 0;
}

static void
add_json_point(const CpmPoint *point, void *arg)
{
	Downsampling *merge = arg;
	int64		step = cpm_document_step(&merge->span, point->at);

	if (step != merge->step)
		finish_step(merge);
	merge->step = step;
	if (merge->points == 0)
		merge->worst = point->worst;
	else
		merge->worst = merge->low_is_bad ? Min(merge->worst, point->worst) :
			Max(merge->worst, point->worst);
	merge->sum += point->mean;
	merge->points++;
}

/*
 * Return the length of a step: the smallest multiple of the rollup's resolution with which the
 * span has at most MAX_POINTS steps.
 */
static int64
choose_step_us(CpmRollup rollup, TimestampTz since, TimestampTz until)
{
	int64		finest_us = rollup == CPM_ROLLUP_SAMPLES ?
		cpm_sample_interval_ms * INT64CONST(1000) : cpm_rollup_length_us(rollup);
	int64		span_us = MAX_POINTS * finest_us;

	return Max((until - since + span_us - 1) / span_us, 1) * finest_us;
}

bool
cpm_document_reject(StringInfo json, const char *error)
{
	cpm_json_open(json, NULL);
	cpm_json_text(json, "error", error);
	cpm_json_close(json);
	return false;
}

#define TIME_FORMATS "an age (300s, 5m, 6h, 30d), seconds since 1970, or ISO 8601 in UTC"

bool
cpm_document_moment(StringInfo json, const char *at, TimestampTz *moment)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!parse_moment(at, now, moment))
		return cpm_document_reject(json, "at must be " TIME_FORMATS);
	if (*moment > now)
		return cpm_document_reject(json, "at is in the future");
	return true;
}

bool
cpm_document_span(StringInfo json, const char *since, const char *until, CpmDocumentSpan *span)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz from = now - USECS_PER_HOUR;
	TimestampTz to = now;

	if ((since && !parse_moment(since, now, &from)) || (until && !parse_moment(until, now, &to)))
		return cpm_document_reject(json, "since and until must be " TIME_FORMATS);
	if (from > to)
		return cpm_document_reject(json, since ? "since is after until" :
								   "until is before the default of since, an hour ago");

	/*
	 * Omit the time before the oldest rollups, which has no points and would only make the steps
	 * longer. A span entirely outside the history becomes empty.
	 */
	span->since = Max(from, now - (int64) CPM_HOURS_KEPT * USECS_PER_HOUR);
	span->until = Max(Min(to, now), span->since);
	span->rollup = cpm_series_rollup(span->since, now);
	span->step_us = choose_step_us(span->rollup, span->since, span->until);
	return true;
}

void
cpm_document_write_span(StringInfo json, const CpmDocumentSpan *span)
{
	cpm_json_time(json, "since", span->since);
	cpm_json_time(json, "until", span->until);
	cpm_json_number(json, "stepMs", (double) span->step_us / 1000);
}

int64
cpm_document_step(const CpmDocumentSpan *span, TimestampTz at)
{
	return Max(at - span->since, 0) / span->step_us;
}

double
cpm_document_step_ms(const CpmDocumentSpan *span, int64 step)
{
	return floor((double) (span->since + step * span->step_us + UNIX_EPOCH_US) / 1000);
}

bool
cpm_write_history(StringInfo json, const char *metric, const char *since, const char *until)
{
	Downsampling merge = {.json = json, .step = -1};
	int			id = metric ? cpm_metric_by_name(metric) : -1;

	if (id < 0)
		return cpm_document_reject(json, metric ?
								   "there is no such metric: see \"metrics\" of /api/status" :
								   "a metric is required: "
								   "/api/history?metric=total_connections");
	if (!cpm_document_span(json, since, until, &merge.span))
		return false;
	merge.low_is_bad = cpm_catalogue[id].low_is_bad;
	cpm_json_open(json, NULL);
	cpm_json_text(json, "metric", cpm_catalogue[id].name);
	cpm_json_text(json, "unit", cpm_unit_name(cpm_catalogue[id].unit));
	cpm_document_write_span(json, &merge.span);
	cpm_json_open_array(json, "points");
	cpm_series_scan(merge.span.rollup, id, 0, merge.span.since, merge.span.until, add_json_point,
					&merge);
	finish_step(&merge);
	cpm_json_close_array(json);
	cpm_json_close(json);
	return true;
}
