/* SPDX-License-Identifier: PostgreSQL */
/*
 * chart.h
 *		Draws a series of values in text: bars, an axis, thresholds.
 */
#ifndef CPM_CHART_H
#define CPM_CHART_H

#include "lib/stringinfo.h"

/* Columns from left to right; NaN where there is no value. */
typedef struct CpmChart
{
	int			columns;
	int			height;			/* lines that bars may be high */
	const double *solid;
	const double *shaded;		/* at or above solid */
	double		warning;		/* NaN: none */
	double		critical;
	double		scale;			/* the value at the upper edge */
	int			label_width;	/* of the labels left of the axis */
	bool		ascii;			/* the client knows nothing else */
} CpmChart;

/* Set scale and label_width so that all values and thresholds are seen. */
extern void cpm_chart_fit(CpmChart *chart);

/* The line so many from the top (0 to height - 1), and the axis under them. */
extern void cpm_chart_line(const CpmChart *chart, int line, StringInfo out);
extern void cpm_chart_axis(const CpmChart *chart, StringInfo out);

/* What the signs mean that are in it, in one line. */
extern void cpm_chart_legend(const CpmChart *chart, bool low_is_bad, StringInfo out);

#endif							/* CPM_CHART_H */
