/* SPDX-License-Identifier: PostgreSQL */
/*
 * chart.h
 *		Draws a series of values in text: bars, an axis, thresholds.
 */
#ifndef CPM_CHART_H
#define CPM_CHART_H

#include "lib/stringinfo.h"

/* The values of a chart and its layout. solid and shaded are arrays over the columns. */
typedef struct CpmChart
{
	int			columns;
	int			height;			/* in rows of text, without the axis */
	const double *solid;		/* NaN: the column has no value */
	const double *shaded;		/* never below solid */
	double		warning;		/* a threshold; NaN if it is off */
	double		critical;		/* likewise */
	double		scale;			/* the value at the upper edge */
	int			label_width;	/* in characters, of the labels left of the axis */
	bool		ascii;			/* use ASCII characters only */
} CpmChart;

/* Set scale and label_width so that all values and thresholds are visible. */
extern void cpm_chart_fit(CpmChart *chart);

/* Append one line of the bars; line 0 is the top, line height - 1 the bottom. */
extern void cpm_chart_line(const CpmChart *chart, int line, StringInfo out);

/* Append the line of the horizontal axis. */
extern void cpm_chart_axis(const CpmChart *chart, StringInfo out);

/*
 * Append the line that explains the characters of the chart. low_is_bad means that the worst value
 * is the lowest one, so that bars are solid up to the worst value and not up to the mean.
 */
extern void cpm_chart_legend(const CpmChart *chart, bool low_is_bad, StringInfo out);

#endif							/* CPM_CHART_H */
