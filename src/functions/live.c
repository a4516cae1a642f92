/* SPDX-License-Identifier: PostgreSQL */
/*
 * live.c
 *		get_connection_stats(): the current value and status of every metric.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "base/metric_settings.h"
#include "base/sample.h"
#include "fmgr.h"
#include "functions/rows.h"
#include "rules/catalogue.h"
#include "samples/take_sample.h"

PG_FUNCTION_INFO_V1(get_connection_stats_1_0);

/* Add the value as an integer, rounded up or down; NULL if it is not a finite number. */
static void
add_integer(CpmRow *row, double value, bool round_up)
{
	if (!cpm_is_number(value))
		cpm_row_null(row);
	else
		cpm_row_int4(row, (int32) Min(round_up ? ceil(value) : floor(value), (double) INT_MAX));
}

/*
 * Columns: metric_name, current_value, max_value, status; in the catalogue's order. Rounds a value
 * up if low values of the metric are bad, otherwise down, so that a value that has not reached its
 * threshold is not shown as if it had.
 */
Datum
get_connection_stats_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_rows_begin(fcinfo);
	CpmRow		row = {0};
	CpmSample	sample;

	cpm_sample_take(&sample, NULL);
	for (int i = 0; i < CPM_METRICS; i++)
	{
		const CpmMetric *metric = &cpm_catalogue[i];
		CpmVerdict	verdict;

		if (!cpm_metric_is_available(metric, sample.sources))
			continue;
		verdict = cpm_evaluate_metric(i, &sample, cpm_settings_thresholds(i));
		cpm_row_text(&row, metric->name);
		add_integer(&row, verdict.value, metric->low_is_bad);
		add_integer(&row, verdict.maximum, false);
		cpm_row_text(&row, cpm_status_name(verdict.status));
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}
