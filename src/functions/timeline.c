/* SPDX-License-Identifier: PostgreSQL */
/*
 * timeline.c
 *		connpool_history(): past values of the metrics.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/settings.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "functions/series.h"
#include "rules/catalogue.h"
#include "samples/rollups.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_history_1_0);

static bool
interval_equals(Interval *interval, int64 microseconds)
{
	Interval	wanted = {.time = microseconds};

	return DatumGetBool(DirectFunctionCall2(interval_eq, IntervalPGetDatum(interval),
											IntervalPGetDatum(&wanted)));
}

/*
 * Return the rollup with that resolution; fails with 22023 if there is none. If the samples have
 * the resolution of a rollup, prefer the rollup, because it reaches further back.
 */
static CpmRollup
rollup_by_resolution(Interval *resolution)
{
	for (CpmRollup rollup = CPM_ROLLUP_HOURS; rollup > CPM_ROLLUP_SAMPLES; rollup--)
		if (interval_equals(resolution, cpm_rollup_length_us(rollup)))
			return rollup;
	if (!interval_equals(resolution, cpm_sample_interval_ms * INT64CONST(1000)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the history has no values at that resolution"),
				 errdetail("The resolutions are connpool_monitor.sample_interval (now %d ms), "
						   "one minute and one hour.",
						   cpm_sample_interval_ms),
				 errhint("Omit resolution to get the finest one that covers "
						 "the requested time.")));
	return CPM_ROLLUP_SAMPLES;
}

static void
emit_point(const CpmPoint *point, void *arg)
{
	CpmRow		row = {0};

	cpm_row_timestamptz(&row, point->at);
	cpm_row_interval(&row, point->length_ms);
	cpm_row_text(&row, cpm_catalogue[point->metric].name);
	cpm_row_float8(&row, point->mean);
	cpm_row_float8(&row, point->worst);
	cpm_row_emit(&row, arg);
}

/* connpool_history(metric text, since timestamptz, until timestamptz, resolution interval) */
Datum
connpool_history_1_0(PG_FUNCTION_ARGS)
{
	TimestampTz since = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	bool		any_resolution = PG_ARGISNULL(3);
	int			metric = -1;
	CpmRollup	rollup;

	cpm_require_preloaded("connpool_history()");
	if (!PG_ARGISNULL(0))
		metric = cpm_series_metric(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	/* use the time of now(), from which callers usually compute since */
	rollup = any_resolution ? cpm_series_rollup(since, GetCurrentTransactionStartTimestamp()) :
		rollup_by_resolution(PG_GETARG_INTERVAL_P(3));
	/* samples may have been taken at other intervals than the requested resolution */
	cpm_series_scan(rollup, metric, any_resolution ? 0 : cpm_sample_interval_ms, since, until,
					emit_point, cpm_rows_begin(fcinfo));
	return (Datum) 0;
}
