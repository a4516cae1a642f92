/* SPDX-License-Identifier: PostgreSQL */
/*
 * chart.h
 *		Draws values over time in text: stacked layers, horizontal lines, an axis, a legend.
 *
 * A function that returns a chart takes the arguments since, width and height, describes its
 * layers and lines, and passes a function that adds the points. The chart calls that function
 * again whenever it needs another number of columns.
 */
#ifndef CPM_CHART_H
#define CPM_CHART_H

#include "datatype/timestamp.h"
#include "fmgr.h"

/* A character: [0] in UTF-8, [1] in ASCII. */
typedef const char *CpmGlyph[2];

/* How the chart draws a layer whose upper edge is inside a cell. */
typedef enum CpmLayerStyle
{
	CPM_LAYER_BAR,				/* as a bar in eighths of the cell, which hides higher layers */
	CPM_LAYER_SHADE,			/* as a full cell */
	CPM_LAYER_AREA				/* as a full cell if the layer covers at least half of it,
								 * otherwise not at all */
} CpmLayerStyle;

/* Which value stands for the points of one column. */
typedef enum CpmLayerValue
{
	CPM_LAYER_MEAN,
	CPM_LAYER_HIGHEST,
	CPM_LAYER_LOWEST
} CpmLayerValue;

typedef struct CpmChartLayer
{
	const char *name;			/* in the legend, which omits an area that is in no column */
	CpmGlyph	glyph;			/* of a whole cell */
	CpmLayerStyle style;
	CpmLayerValue value;
	double	   *top;			/* by column; NaN: the column has no point. Set by the chart */
} CpmChartLayer;

typedef struct CpmChartLine
{
	const char *name;			/* in the legend */
	const char *mark;			/* one ASCII character, at the axis */
	CpmGlyph	glyph;
	double		value;			/* NaN: there is no line */
	bool		is_in_front;	/* drawn over the layers; other lines are hidden by the layers */
	bool		may_be_omitted; /* omitted if it is above four times the highest value */
} CpmChartLine;

typedef struct CpmChart
{
	/* set by cpm_chart_begin() */
	TimestampTz from;
	TimestampTz to;
	int			width;			/* in characters */
	int			height;			/* in rows of text, without the title, the axis and the legend */
	bool		is_ascii;

	/* set by the caller */
	const char *title;
	CpmChartLayer *layer;		/* from the bottom to the top */
	int			layers;
	const CpmChartLine *line;	/* a later one covers an earlier one */
	int			lines;

	/* set by cpm_chart_emit() */
	int			columns;
	int64		column_us;
	int		   *points;			/* in each column */
	double		scale;			/* the value at the upper edge */
	int			label_width;	/* in characters, of the labels left of the axis */
} CpmChart;

/*
 * Initialize the chart from three arguments of the SQL function: since interval, width int and
 * height int. "first" is the number of the first one. Fails with 22023 if one is NULL or out of
 * range.
 */
extern void cpm_chart_begin(CpmChart *chart, FunctionCallInfo fcinfo, int first);

/*
 * Add a point to each column that its span overlaps. tops has the value at the upper edge of each
 * layer, which is never below that of the layer under it.
 */
extern void cpm_chart_add(CpmChart *chart, TimestampTz at, int64 length_ms, const double *tops);

/* Call cpm_chart_add() for each point of the time from chart->from to chart->to. */
typedef void (*CpmChartScan) (CpmChart *chart, void *arg);

/* Return the chart as the SQL function's rows of text. */
extern void cpm_chart_emit(CpmChart *chart, CpmChartScan scan, void *arg, FunctionCallInfo fcinfo);

#endif							/* CPM_CHART_H */
