/* SPDX-License-Identifier: PostgreSQL */
/*
 * plot.c
 *		connpool_plot(): the history of a metric as a chart in the terminal.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "base/settings.h"
#include "catalog/pg_collation.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/chart.h"
#include "functions/rows.h"
#include "functions/series.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "rules/catalogue.h"
#include "samples/take_sample.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_plot_1_0);

#define LEAST_WIDTH 20
#define LEAST_COLUMNS 8			/* of the bars, however wide the labels are */
#define MOST_WIDTH 500
#define LEAST_HEIGHT 3
#define MOST_HEIGHT 200
#define AXIS_WIDTH 2			/* the axis and the blank before it */

/* What the columns of the chart are filled from. */
typedef struct Columns
{
	TimestampTz from;
	int64		width_us;		/* of a column */
	int			count;
	bool		low_is_bad;
	double	   *sum;			/* of means, and how many of them */
	int		   *points;
	double	   *worst;			/* NaN: none */
} Columns;

/* A point counts in every column that it reaches into: it may be longer than one. */
static void
add_point(const CpmPoint *point, void *arg)
{
	Columns    *columns = arg;
	int64		start_us = point->at - columns->from;
	int64		end_us = start_us + point->length_ms * 1000 - 1;
	int			first = (int) (Max(start_us, 0) / columns->width_us);
	int			last = (int) Min(end_us / columns->width_us, columns->count - 1);

	if (end_us < 0)
		return;
	for (int i = first; i <= last; i++)
	{
		double	   *worst = &columns->worst[i];

		columns->sum[i] += point->mean;
		columns->points[i]++;
		if (isnan(*worst) || (columns->low_is_bad ? point->worst < *worst : point->worst > *worst))
			*worst = point->worst;
	}
}

static Columns
begin_columns(TimestampTz from, TimestampTz to, int count, bool low_is_bad)
{
	Columns		columns = {
		.from = from,
		.width_us = Max((to - from + count - 1) / count, 1),
		.count = count,
		.low_is_bad = low_is_bad,
		.sum = palloc0(count * sizeof(double)),
		.points = palloc0(count * sizeof(int)),
		.worst = palloc(count * sizeof(double)),
	};

	for (int i = 0; i < count; i++)
		columns.worst[i] = NAN;
	return columns;
}

static void
fill_chart(CpmChart *chart, const Columns *columns)
{
	double	   *solid = palloc(columns->count * sizeof(double));
	double	   *shaded = palloc(columns->count * sizeof(double));

	for (int i = 0; i < columns->count; i++)
	{
		double		mean = columns->points[i] > 0 ? columns->sum[i] / columns->points[i] : NAN;

		solid[i] = columns->low_is_bad ? columns->worst[i] : mean;
		shaded[i] = columns->low_is_bad ? mean : columns->worst[i];
	}
	chart->columns = columns->count;
	chart->solid = solid;
	chart->shaded = shaded;
}

/* A moment in the session's time zone, as exact as the span of the chart needs. */
static char *
moment(TimestampTz at, int64 span_us)
{
	const char *format = span_us <= USECS_PER_HOUR ? "HH24:MI:SS" :
		span_us <= USECS_PER_DAY ? "HH24:MI" :
		span_us <= 14 * USECS_PER_DAY ? "MM-DD HH24:MI" : "YYYY-MM-DD";
	Datum		label = DirectFunctionCall2Coll(timestamptz_to_char, C_COLLATION_OID,
												TimestampTzGetDatum(at),
												CStringGetTextDatum(format));

	return TextDatumGetCString(label);
}

static void
put_centered(char *line, int position, const char *label)
{
	memcpy(line + position - (int) strlen(label) / 2, label, strlen(label));
}

/* When the chart begins, its middle, and when it ends, under the axis. */
static void
write_moments(StringInfo out, const CpmChart *chart, TimestampTz from, TimestampTz to)
{
	int			left = chart->label_width + AXIS_WIDTH;
	int			width = left + chart->columns;
	char	   *line = palloc(width + 1);
	char	   *first = moment(from, to - from);
	char	   *middle = moment(from + (to - from) / 2, to - from);
	char	   *last = moment(to, to - from);
	int			needed = (int) (strlen(first) + strlen(middle) + strlen(last)) + 4;

	memset(line, ' ', width);
	line[width] = '\0';
	/* a narrow chart has room for the last only, or for none */
	if ((int) (strlen(first) + strlen(last)) < chart->columns)
		memcpy(line + left, first, strlen(first));
	if ((int) strlen(last) <= width)
		memcpy(line + width - strlen(last), last, strlen(last));
	if (needed <= chart->columns)
		put_centered(line, left + chart->columns / 2, middle);
	appendStringInfoString(out, line);
}

static void
emit(StringInfo line, ReturnSetInfo *result)
{
	CpmRow		row = {0};

	cpm_row_text(&row, line->data);
	cpm_row_emit(&row, result);
	resetStringInfo(line);
}

static void
emit_chart(const CpmChart *chart, CpmMetricId metric, TimestampTz from, TimestampTz to,
		   ReturnSetInfo *result)
{
	StringInfoData line;

	initStringInfo(&line);
	appendStringInfo(&line, "%s (%s)", cpm_catalogue[metric].name,
					 cpm_unit_name(cpm_catalogue[metric].unit));
	emit(&line, result);
	for (int i = 0; i < chart->height; i++)
	{
		cpm_chart_line(chart, i, &line);
		emit(&line, result);
	}
	cpm_chart_axis(chart, &line);
	emit(&line, result);
	write_moments(&line, chart, from, to);
	emit(&line, result);
	cpm_chart_legend(chart, cpm_catalogue[metric].low_is_bad, &line);
	emit(&line, result);
}

static int
size_argument(FunctionCallInfo fcinfo, int argument, const char *name, int least, int most)
{
	int			size = PG_ARGISNULL(argument) ? -1 : PG_GETARG_INT32(argument);

	if (size < least || size > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a chart must be from %d to %d characters", name, least, most)));
	return size;
}

static TimestampTz
since_argument(FunctionCallInfo fcinfo, int argument, TimestampTz now)
{
	TimestampTz since = now;

	if (!PG_ARGISNULL(argument))
		since = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														TimestampTzGetDatum(now),
														PG_GETARG_DATUM(argument)));
	if (since >= now || TIMESTAMP_NOT_FINITE(since))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must be a time that is over, such as interval '1 hour'")));
	return since;
}

/* The thresholds as they stand now; the past was judged by those of its time. */
static void
take_thresholds(CpmChart *chart, CpmMetricId metric)
{
	CpmSample	sample;
	CpmVerdict	verdict;

	cpm_sample_take(&sample, NULL);
	verdict = cpm_evaluate_metric(metric, &sample, cpm_settings_thresholds(metric));
	chart->warning = verdict.warning;
	chart->critical = verdict.critical;
}

/* The labels take of the width what they need, which depends on what is drawn. */
static void
draw(CpmChart *chart, CpmMetricId metric, TimestampTz from, TimestampTz to, int width)
{
	bool		low_is_bad = cpm_catalogue[metric].low_is_bad;
	int			label_width;

	chart->label_width = 1;
	do
	{
		Columns		columns;

		label_width = chart->label_width;
		columns = begin_columns(from, to, Max(width - label_width - AXIS_WIDTH, LEAST_COLUMNS), low_is_bad);
		cpm_series_scan(cpm_series_tier(from, to), metric, 0, from, to, add_point, &columns);
		fill_chart(chart, &columns);
		cpm_chart_fit(chart);
	} while (chart->label_width > label_width);
	chart->label_width = label_width;
}

/* connpool_plot(metric text, since interval, width int, height int) */
Datum
connpool_plot_1_0(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	int			metric;
	TimestampTz since;
	int			width;
	CpmChart	chart = {0};

	cpm_require_preloaded("connpool_plot()");
	metric = cpm_series_metric(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	since = since_argument(fcinfo, 1, now);
	width = size_argument(fcinfo, 2, "width", LEAST_WIDTH, MOST_WIDTH);
	chart.height = size_argument(fcinfo, 3, "height", LEAST_HEIGHT, MOST_HEIGHT);

	/* a database of another encoding could not even hold it */
	chart.ascii = pg_get_client_encoding() != PG_UTF8 || GetDatabaseEncoding() != PG_UTF8;
	take_thresholds(&chart, metric);
	draw(&chart, metric, since, now, width);
	emit_chart(&chart, metric, since, now, cpm_lines_begin(fcinfo));
	return (Datum) 0;
}
