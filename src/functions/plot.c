/* SPDX-License-Identifier: PostgreSQL */
/*
 * plot.c
 *		connpool_plot(): the history of a metric as a chart in the terminal.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "base/metric_settings.h"
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

/* The limits of the arguments, in characters. */
#define MIN_WIDTH 20
#define MAX_WIDTH 500
#define MIN_HEIGHT 3
#define MAX_HEIGHT 200

#define MIN_COLUMNS 8			/* a chart with long labels exceeds its width instead */
#define AXIS_WIDTH 2			/* the axis and the blank before it */

/* The columns of a chart while points are added to them. */
typedef struct ChartColumns
{
	TimestampTz from;
	int64		width_us;		/* of one column */
	int			count;
	bool		low_is_bad;
	double	   *sum;			/* of the means of points */
	int		   *points;			/* number of points in sum */
	double	   *worst;			/* NaN: the column has no point */
} ChartColumns;

/* Add the point to each column that its span overlaps. The span may cover many columns. */
static void
add_point(const CpmPoint *point, void *arg)
{
	ChartColumns *columns = arg;
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

static ChartColumns
begin_columns(TimestampTz from, TimestampTz to, int count, bool low_is_bad)
{
	ChartColumns columns = {
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
fill_chart(CpmChart *chart, const ChartColumns *columns)
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

/* Return the time in the session's time zone; the format depends on the span of the chart. */
static char *
time_label(TimestampTz at, int64 span_us)
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
write_centered(char *line, int position, const char *label)
{
	memcpy(line + position - (int) strlen(label) / 2, label, strlen(label));
}

/* Append the line under the axis: the times of the chart's beginning, middle and end. */
static void
append_time_labels(StringInfo out, const CpmChart *chart, TimestampTz from, TimestampTz to)
{
	int			left = chart->label_width + AXIS_WIDTH;
	int			width = left + chart->columns;
	char	   *line = palloc(width + 1);
	char	   *first = time_label(from, to - from);
	char	   *middle = time_label(from + (to - from) / 2, to - from);
	char	   *last = time_label(to, to - from);
	int			needed = (int) (strlen(first) + strlen(middle) + strlen(last)) + 4;

	memset(line, ' ', width);
	line[width] = '\0';
	/* omit the labels that a narrow chart has no room for */
	if ((int) (strlen(first) + strlen(last)) < chart->columns)
		memcpy(line + left, first, strlen(first));
	if ((int) strlen(last) <= width)
		memcpy(line + width - strlen(last), last, strlen(last));
	if (needed <= chart->columns)
		write_centered(line, left + chart->columns / 2, middle);
	appendStringInfoString(out, line);
}

static void
emit_line(StringInfo line, ReturnSetInfo *result)
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
	emit_line(&line, result);
	for (int i = 0; i < chart->height; i++)
	{
		cpm_chart_line(chart, i, &line);
		emit_line(&line, result);
	}
	cpm_chart_axis(chart, &line);
	emit_line(&line, result);
	append_time_labels(&line, chart, from, to);
	emit_line(&line, result);
	cpm_chart_legend(chart, cpm_catalogue[metric].low_is_bad, &line);
	emit_line(&line, result);
}

static int
size_argument(FunctionCallInfo fcinfo, int argument, const char *name, int min, int max)
{
	int			size = PG_ARGISNULL(argument) ? -1 : PG_GETARG_INT32(argument);

	if (size < min || size > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a chart must be from %d to %d characters", name, min, max)));
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
				 errmsg("since must be a positive and finite interval, such as '1 hour'")));
	return since;
}

/* Set the present thresholds, although others may have applied during the chart's time. */
static void
set_thresholds(CpmChart *chart, CpmMetricId metric)
{
	CpmSample	sample;
	CpmVerdict	verdict;

	cpm_sample_take(&sample, NULL);
	verdict = cpm_evaluate_metric(metric, &sample, cpm_settings_thresholds(metric));
	chart->warning = verdict.warning;
	chart->critical = verdict.critical;
}

/*
 * Fill the chart so that it fits into the width. The width of the labels depends on the highest
 * value, which depends on the number of columns that the labels leave. So start with narrow
 * labels, and retry with fewer columns until the labels fit.
 */
static void
fit_chart(CpmChart *chart, CpmMetricId metric, TimestampTz from, TimestampTz to, int width)
{
	bool		low_is_bad = cpm_catalogue[metric].low_is_bad;
	int			label_width;

	chart->label_width = 1;
	do
	{
		ChartColumns columns;

		label_width = chart->label_width;
		columns = begin_columns(from, to, Max(width - label_width - AXIS_WIDTH, MIN_COLUMNS),
								low_is_bad);
		cpm_series_scan(cpm_series_rollup(from, to), metric, 0, from, to, add_point, &columns);
		fill_chart(chart, &columns);
		cpm_chart_fit(chart);
	} while (chart->label_width > label_width);
	/* the columns were computed for this width, and the labels may need less */
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
	width = size_argument(fcinfo, 2, "width", MIN_WIDTH, MAX_WIDTH);
	chart.height = size_argument(fcinfo, 3, "height", MIN_HEIGHT, MAX_HEIGHT);

	/* block characters must exist in the database's encoding and in the client's */
	chart.ascii = pg_get_client_encoding() != PG_UTF8 || GetDatabaseEncoding() != PG_UTF8;
	set_thresholds(&chart, metric);
	fit_chart(&chart, metric, since, now, width);
	emit_chart(&chart, metric, since, now, cpm_lines_begin(fcinfo));
	return (Datum) 0;
}
