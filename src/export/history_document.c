/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_document.c
 *		One metric over time, as a JSON document for a chart.
 *
 * Points that are closer than a chart can show are put together: the mean of their
 * means, and the worst of all.
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

#define MOST_POINTS 600
#define UNIX_EPOCH_US ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct Thinning
{
	StringInfo	json;
	TimestampTz since;
	int64		step_us;
	bool		low_is_bad;
	int64		step;			/* the number of the one under way */
	int			points;			/* in it */
	double		sum;
	double		worst;
} Thinning;

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

/* As it stands behind a time; the "+" of an offset means a space in an address that is not escaped. */
static bool
is_utc(const char *zone)
{
	return *zone == '\0' || strcmp(zone, "Z") == 0 || strcmp(zone, "+00:00") == 0 || strcmp(zone, " 00:00") == 0;
}

/*
 * Does it name that moment? 2026-11-24T03:00:00.000Z, also with +00:00 in place of the Z or
 * neither, and also without the fraction, the seconds or the time, which are zero then.
 */
static bool
parse_iso(const char *text, TimestampTz *moment)
{
	struct pg_tm tm = {0};
	int			end = 0;
	double		seconds = 0;

	/* an end is stored only where the text is read so far */
	(void) sscanf(text, "%4d-%2d-%2d%n%*1[T ]%2d:%2d%n:%lf%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
				  &end, &tm.tm_hour, &tm.tm_min, &end, &seconds, &end);
	if (end == 0 || !is_utc(text + end))
		return false;
	if (!(seconds >= 0 && seconds < 61) || tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
		tm.tm_mday < 1 || tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1] ||
		tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59)
		return false;
	*moment = (int64) (date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY +
		tm.tm_hour * USECS_PER_HOUR + tm.tm_min * USECS_PER_MINUTE + (int64) (seconds * USECS_PER_SEC);
	return true;
}

static bool
parse_moment(const char *text, TimestampTz now, TimestampTz *moment)
{
	char	   *end;
	double		number = strtod(text, &end);

	if (parse_iso(text, moment))
		return true;
	if (end == text || strspn(text, "0123456789.") != (size_t) (end - text) || !(number >= 0 && number < 1e11))
		return false;
	if (*end == '\0')
		*moment = (TimestampTz) (number * USECS_PER_SEC) - UNIX_EPOCH_US;
	else if (unit_us(end) == 0 || number * (double) unit_us(end) > (double) now)
		return false;
	else
		*moment = now - (TimestampTz) (number * (double) unit_us(end));
	return true;
}

static void
finish_step(Thinning *thinning)
{
	TimestampTz start = thinning->since + thinning->step * thinning->step_us;

	if (thinning->points == 0)
		return;
	cpm_json_open_array(thinning->json, NULL);
	cpm_json_number(thinning->json, NULL, floor((double) (start + UNIX_EPOCH_US) / 1000));
	cpm_json_number(thinning->json, NULL, thinning->sum / thinning->points);
	cpm_json_number(thinning->json, NULL, thinning->worst);
	cpm_json_close_array(thinning->json);
	thinning->points = 0;
	thinning->sum = 0;
}

static void
add_json_point(const CpmPoint *point, void *arg)
{
	Thinning   *thinning = arg;
	int64		step = (point->at - thinning->since) / thinning->step_us;

	if (step != thinning->step)
		finish_step(thinning);
	thinning->step = step;
	if (thinning->points == 0)
		thinning->worst = point->worst;
	else
		thinning->worst = thinning->low_is_bad ? Min(thinning->worst, point->worst) : Max(thinning->worst, point->worst);
	thinning->sum += point->mean;
	thinning->points++;
}

/* No finer than the tier, and few enough. */
static int64
step_of(CpmRollup tier, TimestampTz since, TimestampTz until)
{
	int64		finest_us = tier == CPM_ROLLUP_SAMPLES ? cpm_sample_interval_ms * INT64CONST(1000) : cpm_rollup_length_us(tier);
	int64		steps = Max((until - since + MOST_POINTS * finest_us - 1) / (MOST_POINTS * finest_us), 1);

	return steps * finest_us;
}

static bool
refuse_argument(StringInfo json, const char *error)
{
	cpm_json_open(json, NULL);
	cpm_json_text(json, "error", error);
	cpm_json_close(json);
	return false;
}

bool
cpm_write_history(StringInfo json, const char *metric, const char *since, const char *until)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz from = now - USECS_PER_HOUR;
	TimestampTz to = now;
	Thinning	thinning = {.json = json, .step = -1};
	int			id = metric ? cpm_metric_by_name(metric) : -1;
	CpmRollup	tier;

	if (id < 0)
		return refuse_argument(json, metric ? "there is no such metric: see \"metrics\" of /api/status" : "say which metric: /api/history?metric=total_connections");
	if ((since && !parse_moment(since, now, &from)) || (until && !parse_moment(until, now, &to)))
		return refuse_argument(json, "since and until are so long ago (300s, 5m, 6h, 30d), seconds since 1970, or ISO 8601 in UTC");
	if (from > to)
		return refuse_argument(json, "since is after until");

	/*
	 * The hours go back a year: what is before is empty, and would only make steps coarse. A span
	 * that lies wholly outside becomes one without points.
	 */
	from = Max(from, now - (int64) CPM_HOURS_KEPT * USECS_PER_HOUR);
	to = Max(Min(to, now), from);
	tier = cpm_series_tier(from, now);
	thinning.since = from;
	thinning.step_us = step_of(tier, from, to);
	thinning.low_is_bad = cpm_catalogue[id].low_is_bad;
	cpm_json_open(json, NULL);
	cpm_json_text(json, "metric", cpm_catalogue[id].name);
	cpm_json_text(json, "unit", cpm_unit_name(cpm_catalogue[id].unit));
	cpm_json_time(json, "since", from);
	cpm_json_time(json, "until", to);
	cpm_json_number(json, "stepMs", (double) thinning.step_us / 1000);
	cpm_json_open_array(json, "points");
	cpm_series_scan(tier, id, 0, from, to, add_json_point, &thinning);
	finish_step(&thinning);
	cpm_json_close_array(json);
	cpm_json_close(json);
	return true;
}
