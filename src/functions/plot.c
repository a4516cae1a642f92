/* SPDX-License-Identifier: PostgreSQL */
/*
 * plot.c
 *		Charts in the terminal.
 *		connpool_plot(): the history of a metric.
 *		connpool_load_plot(): the history of the load.
 *
 * Each bar of a metric shows its mean and its worst value: it is solid up to the lower of the two,
 * and shaded from there up to the higher.
 */
#include "postgres.h"

#include "base/metric_settings.h"
#include "base/processors.h"
#include "base/wait_class.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/chart.h"
#include "functions/series.h"
#include "rules/catalogue.h"
#include "samples/take_sample.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(connpool_plot_1_0);
PG_FUNCTION_INFO_V1(connpool_load_plot_1_0);

/* The characters of the layers of the load, by CpmWaitClass. */
static const CpmGlyph load_glyphs[CPM_WAIT_CLASSES] = {
	[CPM_WAIT_CPU] = {"█", "#"},
	[CPM_WAIT_LOCK] = {"L", "L"},
	[CPM_WAIT_LWLOCK] = {"w", "w"},
	[CPM_WAIT_IO] = {"▓", "%"},
	[CPM_WAIT_CLIENT] = {"c", "c"},
	[CPM_WAIT_IPC] = {"p", "p"},
	[CPM_WAIT_TIMEOUT] = {"t", "t"},
	[CPM_WAIT_OTHER] = {"o", "o"},
	[CPM_WAIT_IDLE_IN_TRANSACTION] = {"░", ":"},
};

static void
add_point(const CpmPoint *point, void *arg)
{
	bool		low_is_bad = cpm_catalogue[point->metric].low_is_bad;
	double		tops[2];

	tops[0] = low_is_bad ? point->worst : point->mean;
	tops[1] = low_is_bad ? point->mean : point->worst;
	cpm_chart_add(arg, point->at, point->length_ms, tops);
}

static void
add_points(CpmChart *chart, void *arg)
{
	const CpmMetricId *metric = arg;

	cpm_series_scan(cpm_series_rollup(chart->from, chart->to), *metric, 0, chart->from, chart->to,
					add_point, chart);
}

/* Return the current thresholds. Others may have applied in the span of the chart. */
static CpmVerdict
current_thresholds(CpmMetricId metric)
{
	CpmSample	sample;

	cpm_sample_take(&sample, NULL);
	return cpm_evaluate_metric(metric, &sample, cpm_settings_thresholds(metric));
}

/* connpool_plot(metric text, since interval, width int, height int) */
Datum
connpool_plot_1_0(PG_FUNCTION_ARGS)
{
	CpmChartLayer layers[] = {
		{.glyph = {"█", "#"}, .style = CPM_LAYER_BAR},
		{.glyph = {"░", ":"}, .style = CPM_LAYER_SHADE},
	};
	CpmChartLine lines[] = {
		{.name = "warning", .mark = "W", .glyph = {"┄", "-"}},
		{.name = "critical", .mark = "C", .glyph = {"━", "~"}},
	};
	CpmChart	chart;
	CpmMetricId metric;
	CpmVerdict	thresholds;
	bool		low_is_bad;

	cpm_require_preloaded("connpool_plot()");
	metric = cpm_series_metric(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	cpm_chart_begin(&chart, fcinfo, 1);
	chart.title = psprintf("%s (%s)", cpm_catalogue[metric].name,
						   cpm_unit_name(cpm_catalogue[metric].unit));

	low_is_bad = cpm_catalogue[metric].low_is_bad;
	layers[0].name = low_is_bad ? "lowest" : "mean";
	layers[0].value = low_is_bad ? CPM_LAYER_LOWEST : CPM_LAYER_MEAN;
	layers[1].name = low_is_bad ? "mean" : "highest";
	layers[1].value = low_is_bad ? CPM_LAYER_MEAN : CPM_LAYER_HIGHEST;
	chart.layer = layers;
	chart.layers = lengthof(layers);

	thresholds = current_thresholds(metric);
	lines[0].value = thresholds.warning;
	lines[1].value = thresholds.critical;
	chart.line = lines;
	chart.lines = lengthof(lines);

	cpm_chart_emit(&chart, add_points, &metric, fcinfo);
	return (Datum) 0;
}

static void
add_load(const CpmLoadPoint *point, void *arg)
{
	double		tops[CPM_WAIT_CLASSES];
	double		top = 0;

	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		tops[i] = top += point->sessions[i];
	cpm_chart_add(arg, point->at, point->length_ms, tops);
}

static void
add_load_points(CpmChart *chart, void *arg)
{
	(void) arg;
	cpm_series_scan_load(cpm_series_rollup(chart->from, chart->to), 0, chart->from, chart->to,
						 add_load, chart);
}

/* connpool_load_plot(since interval, width int, height int) */
Datum
connpool_load_plot_1_0(PG_FUNCTION_ARGS)
{
	CpmChartLayer layers[CPM_WAIT_CLASSES];
	int			processors = cpm_online_processors();
	CpmChartLine line = {
		.name = "processors",
		.mark = "P",
		.glyph = {"━", "-"},
		.value = processors > 0 ? processors : NAN,
		.is_in_front = true,
		.may_be_omitted = true,
	};
	CpmChart	chart;

	cpm_require_preloaded("connpool_load_plot()");
	cpm_chart_begin(&chart, fcinfo, 0);
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
	{
		layers[i].name = cpm_wait_class_name(i);
		memcpy(layers[i].glyph, load_glyphs[i], sizeof(CpmGlyph));
		layers[i].style = CPM_LAYER_AREA;
		layers[i].value = CPM_LAYER_MEAN;
	}
	chart.title = "busy sessions by wait class";
	chart.layer = layers;
	chart.layers = lengthof(layers);
	chart.line = &line;
	chart.lines = 1;
	cpm_chart_emit(&chart, add_load_points, NULL, fcinfo);
	return (Datum) 0;
}
