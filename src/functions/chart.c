/* SPDX-License-Identifier: PostgreSQL */
/*
 * chart.c
 *		Draws a series of values in text: bars, an axis, thresholds.
 *
 * A bar is full up to the lower of the mean and the worst value of its column,
 * and shaded from there to the other.
 * A column without a value has a dot at the bottom, so that it is told from one
 * of zero. Thresholds are lines behind the bars, with their value at the axis.
 */
#include "postgres.h"

#include <math.h>

#include "functions/chart.h"

#define EIGHTHS 8

/* How each thing looks, in UTF-8 and in ASCII. */
typedef struct Look
{
	const char *bar[EIGHTHS];	/* an eighth of a cell to a whole one */
	const char *shade;
	const char *warning;
	const char *critical;
	const char *nothing;
	const char *axis;
	const char *tick;
	const char *corner;
	const char *floor;
} Look;

static const Look utf8_look = {
	.bar = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	.shade = "░", .warning = "┄", .critical = "━", .nothing = "·",
	.axis = "│", .tick = "┤", .corner = "└", .floor = "─",
};

static const Look ascii_look = {
	.bar = {"_", "_", "_", "=", "=", "=", "#", "#"},
	.shade = ":", .warning = "-", .critical = "~", .nothing = ".",
	.axis = "|", .tick = "+", .corner = "+", .floor = "-",
};

static const Look *
look_of(const CpmChart *chart)
{
	return chart->ascii ? &ascii_look : &utf8_look;
}

/* A number a little above, with few digits. */
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

static int
label_width(double value)
{
	return isnan(value) ? 0 : snprintf(NULL, 0, "%.5g", value);
}

void
cpm_chart_fit(CpmChart *chart)
{
	double		highest = 0;

	for (int i = 0; i < chart->columns; i++)
		if (!isnan(chart->solid[i]))
			highest = Max(highest, Max(chart->solid[i], chart->shaded[i]));
	if (!isnan(chart->warning))
		highest = Max(highest, chart->warning);
	if (!isnan(chart->critical))
		highest = Max(highest, chart->critical);
	/* a line at the very top would stand at the edge of nothing */
	chart->scale = round_up(highest * 1.05);
	chart->label_width = label_width(chart->scale);
	chart->label_width = Max(chart->label_width, label_width(chart->warning));
	chart->label_width = Max(chart->label_width, label_width(chart->critical));
}

/* The line in which a value lies, counted from the bottom; -1 for none. */
static int
chart_row(const CpmChart *chart, double value)
{
	if (isnan(value))
		return -1;
	return Min((int) (value / chart->scale * chart->height), chart->height - 1);
}

/* What stands behind the bars in a row. */
static const char *
background(const CpmChart *chart, int row)
{
	if (row == chart_row(chart, chart->critical))
		return look_of(chart)->critical;
	if (row == chart_row(chart, chart->warning))
		return look_of(chart)->warning;
	return " ";
}

static const char *
cell(const CpmChart *chart, int column, int row)
{
	const Look *look = look_of(chart);
	double		per_value = chart->height / chart->scale;
	double		filled = chart->solid[column] * per_value - row;
	bool		is_shaded = chart->shaded[column] * per_value > row;

	if (isnan(chart->solid[column]))
		return row == 0 ? look->nothing : background(chart, row);
	if (filled >= 1)
		return look->bar[EIGHTHS - 1];
	/* even a zero is seen */
	if (row == 0 && !is_shaded)
		return look->bar[0];
	if (filled * EIGHTHS >= 1)
		return look->bar[(int) (filled * EIGHTHS) - 1];
	return is_shaded ? look->shade : background(chart, row);
}

void
cpm_chart_line(const CpmChart *chart, int line, StringInfo out)
{
	const Look *look = look_of(chart);
	int			row = chart->height - 1 - line;
	double		label = NAN;
	const char *mark = look->tick;

	if (row == chart_row(chart, chart->critical))
		label = chart->critical, mark = "C";
	else if (row == chart_row(chart, chart->warning))
		label = chart->warning, mark = "W";
	else if (line == 0)
		label = chart->scale;
	if (isnan(label))
		appendStringInfo(out, "%*s %s", chart->label_width, "", look->axis);
	else
		appendStringInfo(out, "%*.5g %s", chart->label_width, label, mark);
	for (int i = 0; i < chart->columns; i++)
		appendStringInfoString(out, cell(chart, i, row));
}

void
cpm_chart_axis(const CpmChart *chart, StringInfo out)
{
	const Look *look = look_of(chart);

	appendStringInfo(out, "%*s %s", chart->label_width, "0", look->corner);
	for (int i = 0; i < chart->columns; i++)
		appendStringInfoString(out, look->floor);
}

void
cpm_chart_legend(const CpmChart *chart, bool low_is_bad, StringInfo out)
{
	const Look *look = look_of(chart);
	bool		has_gap = false;

	for (int i = 0; i < chart->columns; i++)
		has_gap |= isnan(chart->solid[i]);
	appendStringInfo(out, "%s %s  %s %s", look->bar[EIGHTHS - 1], low_is_bad ? "lowest" : "mean",
					 look->shade, low_is_bad ? "mean" : "highest");
	if (!isnan(chart->warning))
		appendStringInfo(out, "  %s W warning %.5g", look->warning, chart->warning);
	if (!isnan(chart->critical))
		appendStringInfo(out, "  %s C critical %.5g", look->critical, chart->critical);
	if (has_gap)
		appendStringInfo(out, "  %s no value", look->nothing);
}
