/* SPDX-License-Identifier: PostgreSQL */
/*
 * chart.c
 *		Draws a series of values in text: bars, an axis, thresholds.
 *
 * Each column is a bar: solid up to the lower of its mean and its worst value, shaded from there
 * up to the higher one. A column without a value shows a dot at the bottom, and a column of zero
 * shows the lowest bar. Thresholds are lines behind the bars, labeled at the axis.
 */
#include "postgres.h"

#include <math.h>

#include "functions/chart.h"

#define EIGHTHS 8

/* The characters of a chart: a set in UTF-8 and a set in ASCII. */
typedef struct Glyphs
{
	const char *bar[EIGHTHS];	/* from an eighth of a cell to a whole cell */
	const char *shade;
	const char *warning;
	const char *critical;
	const char *no_value;
	const char *vertical;
	const char *tick;
	const char *corner;
	const char *horizontal;
} Glyphs;

static const Glyphs utf8_glyphs = {
	.bar = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	.shade = "░", .warning = "┄", .critical = "━", .no_value = "·",
	.vertical = "│", .tick = "┤", .corner = "└", .horizontal = "─",
};

static const Glyphs ascii_glyphs = {
	.bar = {"_", "_", "_", "=", "=", "=", "#", "#"},
	.shade = ":", .warning = "-", .critical = "~", .no_value = ".",
	.vertical = "|", .tick = "+", .corner = "+", .horizontal = "-",
};

static const Glyphs *
glyphs_of(const CpmChart *chart)
{
	return chart->ascii ? &ascii_glyphs : &utf8_glyphs;
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
	/* leave room above the highest line */
	chart->scale = round_up(highest * 1.05);
	chart->label_width = label_width(chart->scale);
	chart->label_width = Max(chart->label_width, label_width(chart->warning));
	chart->label_width = Max(chart->label_width, label_width(chart->critical));
}

/* Return the row that shows the value, counted from the bottom; -1 for NaN. */
static int
chart_row(const CpmChart *chart, double value)
{
	if (isnan(value))
		return -1;
	return Min((int) (value / chart->scale * chart->height), chart->height - 1);
}

/* Return the character to show in a row where there is no bar. */
static const char *
background(const CpmChart *chart, int row)
{
	if (row == chart_row(chart, chart->critical))
		return glyphs_of(chart)->critical;
	if (row == chart_row(chart, chart->warning))
		return glyphs_of(chart)->warning;
	return " ";
}

/* Return the character at the given column and row. */
static const char *
cell(const CpmChart *chart, int column, int row)
{
	const Glyphs *glyphs = glyphs_of(chart);
	double		per_value = chart->height / chart->scale;
	double		filled = chart->solid[column] * per_value - row;
	bool		is_shaded = chart->shaded[column] * per_value > row;

	if (isnan(chart->solid[column]))
		return row == 0 ? glyphs->no_value : background(chart, row);
	if (filled >= 1)
		return glyphs->bar[EIGHTHS - 1];
	/* show a zero as the lowest bar, because a blank would look like a missing value */
	if (row == 0 && !is_shaded)
		return glyphs->bar[0];
	if (filled * EIGHTHS >= 1)
		return glyphs->bar[(int) (filled * EIGHTHS) - 1];
	return is_shaded ? glyphs->shade : background(chart, row);
}

void
cpm_chart_line(const CpmChart *chart, int line, StringInfo out)
{
	const Glyphs *glyphs = glyphs_of(chart);
	int			row = chart->height - 1 - line;
	double		label = NAN;
	const char *mark = glyphs->tick;

	if (row == chart_row(chart, chart->critical))
		label = chart->critical, mark = "C";
	else if (row == chart_row(chart, chart->warning))
		label = chart->warning, mark = "W";
	else if (line == 0)
		label = chart->scale;
	if (isnan(label))
		appendStringInfo(out, "%*s %s", chart->label_width, "", glyphs->vertical);
	else
		appendStringInfo(out, "%*.5g %s", chart->label_width, label, mark);
	for (int i = 0; i < chart->columns; i++)
		appendStringInfoString(out, cell(chart, i, row));
}

void
cpm_chart_axis(const CpmChart *chart, StringInfo out)
{
	const Glyphs *glyphs = glyphs_of(chart);

	appendStringInfo(out, "%*s %s", chart->label_width, "0", glyphs->corner);
	for (int i = 0; i < chart->columns; i++)
		appendStringInfoString(out, glyphs->horizontal);
}

void
cpm_chart_legend(const CpmChart *chart, bool low_is_bad, StringInfo out)
{
	const Glyphs *glyphs = glyphs_of(chart);
	bool		has_gap = false;

	for (int i = 0; i < chart->columns; i++)
		has_gap |= isnan(chart->solid[i]);
	appendStringInfo(out, "%s %s  %s %s", glyphs->bar[EIGHTHS - 1], low_is_bad ? "lowest" : "mean",
					 glyphs->shade, low_is_bad ? "mean" : "highest");
	if (!isnan(chart->warning))
		appendStringInfo(out, "  %s W warning %.5g", glyphs->warning, chart->warning);
	if (!isnan(chart->critical))
		appendStringInfo(out, "  %s C critical %.5g", glyphs->critical, chart->critical);
	if (has_gap)
		appendStringInfo(out, "  %s no value", glyphs->no_value);
}
