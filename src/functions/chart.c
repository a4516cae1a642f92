/* SPDX-License-Identifier: PostgreSQL */
/*
 * chart.c
 *		Draws values over time in text: stacked layers, horizontal lines, an axis, a legend.
 *
 * Each column stands for a span of time. A column without a point shows a dot at the bottom, and a
 * column whose value is zero shows the lowest bar. The layers hide a line behind them unless it is
 * drawn in front (is_in_front). The mark and the value of each line are at the axis.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation.h"
#include "functions/chart.h"
#include "functions/rows.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* The limits of the arguments, in characters. */
#define MIN_WIDTH 20
#define MAX_WIDTH 500
#define MIN_HEIGHT 3
#define MAX_HEIGHT 200

#define MAX_YEARS 1000			/* more than the history holds; now() minus that is a valid time */

#define MIN_COLUMNS 8			/* with long labels, the chart exceeds its width rather than have
								 * fewer columns */
#define AXIS_WIDTH 2			/* the axis and the blank before it */
#define MAX_LINE_RATIO 4		/* a line with may_be_omitted is omitted if it is above this
								 * multiple of the highest value */

#define EIGHTHS 8

static const char *const bars[2][EIGHTHS] = {
	{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	{"_", "_", "_", "=", "=", "=", "#", "#"},
};
static const CpmGlyph no_value = {"·", "."};
static const CpmGlyph vertical = {"│", "|"};
static const CpmGlyph tick = {"┤", "+"};
static const CpmGlyph corner = {"└", "+"};
static const CpmGlyph horizontal = {"─", "-"};

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
	Interval	zero = {0};
	Interval	longest = {.month = MAX_YEARS * MONTHS_PER_YEAR};

	/* compare before subtracting, which fails if the result is no valid time */
	if (!PG_ARGISNULL(argument) &&
		DatumGetBool(DirectFunctionCall2(interval_gt, PG_GETARG_DATUM(argument),
										 IntervalPGetDatum(&zero))) &&
		DatumGetBool(DirectFunctionCall2(interval_le, PG_GETARG_DATUM(argument),
										 IntervalPGetDatum(&longest))))
		since = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														TimestampTzGetDatum(now),
														PG_GETARG_DATUM(argument)));
	/* '1 month -29 days' compares as one day, but 2026-03-10 minus that is 2026-03-11 */
	if (since >= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must be a positive interval of at most %d years", MAX_YEARS),
				 errhint("The history reaches back for a year. "
						 "Use an interval such as '1 hour'.")));
	return since;
}

void
cpm_chart_begin(CpmChart *chart, FunctionCallInfo fcinfo, int first)
{
	memset(chart, 0, sizeof(*chart));
	chart->to = GetCurrentTimestamp();
	chart->from = since_argument(fcinfo, first, chart->to);
	chart->width = size_argument(fcinfo, first + 1, "width", MIN_WIDTH, MAX_WIDTH);
	chart->height = size_argument(fcinfo, first + 2, "height", MIN_HEIGHT, MAX_HEIGHT);
	/* block characters must exist in the database's encoding and in the client's */
	chart->is_ascii = pg_get_client_encoding() != PG_UTF8 || GetDatabaseEncoding() != PG_UTF8;
}

static void
begin_columns(CpmChart *chart, int columns)
{
	chart->columns = columns;
	chart->column_us = Max((chart->to - chart->from + columns - 1) / columns, 1);
	chart->points = palloc0(columns * sizeof(int));
	for (int i = 0; i < chart->layers; i++)
		chart->layer[i].top = palloc0(columns * sizeof(double));
}

/* Add a point to a column. A mean is kept as a sum until end_columns() divides it. */
static void
add_to_column(CpmChart *chart, int column, const double *tops)
{
	for (int i = 0; i < chart->layers; i++)
	{
		double	   *top = &chart->layer[i].top[column];

		if (chart->layer[i].value == CPM_LAYER_MEAN)
			*top += tops[i];
		else if (chart->points[column] == 0)
			*top = tops[i];
		else
			*top = chart->layer[i].value == CPM_LAYER_LOWEST ?
				Min(*top, tops[i]) : Max(*top, tops[i]);
	}
	chart->points[column]++;
}

void
cpm_chart_add(CpmChart *chart, TimestampTz at, int64 length_ms, const double *tops)
{
	int64		start_us = at - chart->from;
	int64		end_us = start_us + length_ms * 1000 - 1;
	int			first = (int) (Max(start_us, 0) / chart->column_us);
	int			last = (int) Min(end_us / chart->column_us, chart->columns - 1);

	if (end_us < 0)
		return;
	for (int i = first; i <= last; i++)
		add_to_column(chart, i, tops);
}

static void
end_columns(CpmChart *chart)
{
	for (int i = 0; i < chart->layers; i++)
		for (int column = 0; column < chart->columns; column++)
			if (chart->points[column] == 0)
				chart->layer[i].top[column] = NAN;
			else if (chart->layer[i].value == CPM_LAYER_MEAN)
				chart->layer[i].top[column] /= chart->points[column];
}

/* Return the next round number at or above the value, at least 1. */
static double
round_up(double value)
{
	static const double steps[] = {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10};
	double		magnitude;

	if (value <= 1)
		return 1;
	magnitude = pow(10, floor(log10(value)));
	for (int i = 0; i < (int) lengthof(steps); i++)
		if (steps[i] * magnitude >= value)
			return steps[i] * magnitude;
	return 10 * magnitude;
}

/*
 * Set the scale so that all values are visible, and all lines except those that are omitted (see
 * MAX_LINE_RATIO). Set the width of the labels.
 */
static void
set_scale(CpmChart *chart)
{
	const CpmChartLayer *highest_layer = &chart->layer[chart->layers - 1];
	double		highest_value = 0;
	double		highest;

	for (int i = 0; i < chart->columns; i++)
		if (chart->points[i] > 0)
			highest_value = Max(highest_value, highest_layer->top[i]);
	highest = highest_value;
	for (int i = 0; i < chart->lines; i++)
		if (chart->line[i].value > highest &&
			!(chart->line[i].may_be_omitted &&
			  chart->line[i].value > MAX_LINE_RATIO * highest_value))
			highest = chart->line[i].value;
	/* leave room above the highest line */
	chart->scale = round_up(highest * 1.05);
	chart->label_width = snprintf(NULL, 0, "%.5g", chart->scale);
	for (int i = 0; i < chart->lines; i++)
		if (chart->line[i].value <= chart->scale)
			chart->label_width = Max(chart->label_width,
									 snprintf(NULL, 0, "%.5g", chart->line[i].value));
}

/*
 * Fill the chart so that it fits into the width. The labels and the columns share the width, but
 * the width of the labels depends on the highest value, which depends on the number of columns. So
 * start with narrow labels, and retry with fewer columns until the labels fit.
 */
static void
fit_chart(CpmChart *chart, CpmChartScan scan, void *arg)
{
	int			label_width;

	chart->label_width = 1;
	do
	{
		label_width = chart->label_width;
		begin_columns(chart, Max(chart->width - label_width - AXIS_WIDTH, MIN_COLUMNS));
		scan(chart, arg);
		end_columns(chart);
		set_scale(chart);
	} while (chart->label_width > label_width);
	/* the columns were computed for this width, and the labels may need less */
	chart->label_width = label_width;
}

/* Return the line in the given row, counted from the bottom; NULL if there is none. */
static const CpmChartLine *
line_at(const CpmChart *chart, int row)
{
	for (int i = chart->lines - 1; i >= 0; i--)
	{
		double		value = chart->line[i].value;

		/* false for NaN */
		if (value <= chart->scale &&
			Min((int) (value / chart->scale * chart->height), chart->height - 1) == row)
			return &chart->line[i];
	}
	return NULL;
}

/*
 * Return the character with which a layer fills a cell; NULL if it does not. "share" is the part
 * of the cell below the top of the layer: above 1 if the top is above the cell, negative if it is
 * below.
 */
static const char *
layer_glyph(const CpmChart *chart, const CpmChartLayer *layer, double share)
{
	if (layer->style == CPM_LAYER_BAR && share < 1)
		return share * EIGHTHS >= 1 ? bars[chart->is_ascii][(int) (share * EIGHTHS) - 1] : NULL;
	if (layer->style == CPM_LAYER_AREA ? share < 0.5 : share <= 0)
		return NULL;
	return layer->glyph[chart->is_ascii];
}

/* Return the character of the layers in the given column and row; NULL if the cell is empty. */
static const char *
cell_glyph(const CpmChart *chart, int column, int row)
{
	const char *glyph = NULL;

	if (chart->points[column] == 0)
		return row == 0 ? no_value[chart->is_ascii] : NULL;
	for (int i = 0; i < chart->layers && glyph == NULL; i++)
		glyph = layer_glyph(chart, &chart->layer[i],
							chart->layer[i].top[column] / chart->scale * chart->height - row);
	/* show a zero as the lowest bar, because a blank would look like a missing value */
	return glyph == NULL && row == 0 ? bars[chart->is_ascii][0] : glyph;
}

static void
append_row(StringInfo out, const CpmChart *chart, int row)
{
	const CpmChartLine *line = line_at(chart, row);

	if (line)
		appendStringInfo(out, "%*.5g %s", chart->label_width, line->value, line->mark);
	else if (row == chart->height - 1)
		appendStringInfo(out, "%*.5g %s", chart->label_width, chart->scale, tick[chart->is_ascii]);
	else
		appendStringInfo(out, "%*s %s", chart->label_width, "", vertical[chart->is_ascii]);
	for (int i = 0; i < chart->columns; i++)
	{
		const char *glyph = line && line->is_in_front ? NULL : cell_glyph(chart, i, row);

		if (glyph == NULL)
			glyph = line ? line->glyph[chart->is_ascii] : " ";
		appendStringInfoString(out, glyph);
	}
}

static void
append_axis(StringInfo out, const CpmChart *chart)
{
	appendStringInfo(out, "%*s %s", chart->label_width, "0", corner[chart->is_ascii]);
	for (int i = 0; i < chart->columns; i++)
		appendStringInfoString(out, horizontal[chart->is_ascii]);
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

/* Append the line under the axis: the times of the chart's beginning, middle and end. */
static void
append_time_labels(StringInfo out, const CpmChart *chart)
{
	int64		span_us = chart->to - chart->from;
	int			left = chart->label_width + AXIS_WIDTH;
	int			width = left + chart->columns;
	char	   *line = palloc(width + 1);
	char	   *first = time_label(chart->from, span_us);
	char	   *middle = time_label(chart->from + span_us / 2, span_us);
	char	   *last = time_label(chart->to, span_us);
	int			needed = (int) (strlen(first) + strlen(middle) + strlen(last)) + 4;

	memset(line, ' ', width);
	line[width] = '\0';
	/* omit the labels that a narrow chart has no room for */
	if ((int) (strlen(first) + strlen(last)) < chart->columns)
		memcpy(line + left, first, strlen(first));
	if ((int) strlen(last) <= width)
		memcpy(line + width - strlen(last), last, strlen(last));
	if (needed <= chart->columns)
		memcpy(line + left + chart->columns / 2 - (int) strlen(middle) / 2, middle,
			   strlen(middle));
	appendStringInfoString(out, line);
}

/* Return true if the layer is above the one under it in any column. */
static bool
layer_is_visible(const CpmChart *chart, int layer)
{
	for (int i = 0; i < chart->columns; i++)
		if (chart->points[i] > 0 &&
			chart->layer[layer].top[i] > (layer > 0 ? chart->layer[layer - 1].top[i] : 0))
			return true;
	return false;
}

/* Append the legend, which explains the characters. */
static void
append_legend(StringInfo out, const CpmChart *chart)
{
	bool		has_gap = false;

	for (int i = 0; i < chart->layers; i++)
		if (chart->layer[i].style != CPM_LAYER_AREA || layer_is_visible(chart, i))
			appendStringInfo(out, "%s %s  ", chart->layer[i].glyph[chart->is_ascii],
							 chart->layer[i].name);
	for (int i = 0; i < chart->lines; i++)
		if (!isnan(chart->line[i].value))
			appendStringInfo(out, "%s %s %s %.5g  ", chart->line[i].glyph[chart->is_ascii],
							 chart->line[i].mark, chart->line[i].name, chart->line[i].value);
	for (int i = 0; i < chart->columns; i++)
		has_gap |= chart->points[i] == 0;
	if (has_gap)
		appendStringInfo(out, "%s no value  ", no_value[chart->is_ascii]);
	/* remove the last separator; the legend may be empty */
	out->len = Max(out->len - 2, 0);
	out->data[out->len] = '\0';
}

static void
emit_line(StringInfo line, ReturnSetInfo *result)
{
	CpmRow		row = {0};

	cpm_row_text(&row, line->data);
	cpm_row_emit(&row, result);
	resetStringInfo(line);
}

void
cpm_chart_emit(CpmChart *chart, CpmChartScan scan, void *arg, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = cpm_lines_begin(fcinfo);
	StringInfoData line;

	fit_chart(chart, scan, arg);
	initStringInfo(&line);
	appendStringInfoString(&line, chart->title);
	emit_line(&line, result);
	for (int row = chart->height - 1; row >= 0; row--)
	{
		append_row(&line, chart, row);
		emit_line(&line, result);
	}
	append_axis(&line, chart);
	emit_line(&line, result);
	append_time_labels(&line, chart);
	emit_line(&line, result);
	append_legend(&line, chart);
	emit_line(&line, result);
}
