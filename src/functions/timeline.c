/* SPDX-License-Identifier: PostgreSQL */
/*
 * timeline.c
 *		connpool_history(): past values of the metrics. connpool_load_history(): past load.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/settings.h"
#include "base/wait_class.h"
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
PG_FUNCTION_INFO_V1(connpool_load_history_1_0);

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

static void
emit_load_point(const CpmLoadPoint *point, void *arg)
{
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
	{
		CpmRow		row = {0};

		cpm_row_timestamptz(&row, point->at);
		cpm_row_interval(&row, point->length_ms);
		cpm_row_text(&row, cpm_wait_class_name(i));
		cpm_row_float8(&row, point->sessions[i]);
		cpm_row_emit(&row, arg);
	}
}

/* The part of a history that the arguments of a function select. */
typedef struct HistorySpan
{
	CpmRollup	rollup;
	int			sample_ms;		/* see cpm_series_scan() */
	TimestampTz since;
	TimestampTz until;
} HistorySpan;

/* Read three arguments: since, whose number is "first", until and resolution. */
static HistorySpan
span_arguments(FunctionCallInfo fcinfo, int first)
{
	HistorySpan span = {
		.since = PG_ARGISNULL(first) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(first),
		.until = PG_ARGISNULL(first + 1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(first + 1),
	};

	/* use the time of now(), from which callers usually compute since */
	if (PG_ARGISNULL(first + 2))
	{
		span.rollup = cpm_series_rollup(span.since, GetCurrentTransactionStartTimestamp());
		return span;
	}
	span.rollup = rollup_by_resolution(PG_GETARG_INTERVAL_P(first + 2));
	/* samples may have been taken at other intervals than the requested resolution */
	span.sample_ms = cpm_sample_interval_ms;
	return span;
}

/* connpool_history(metric text, since timestamptz, until timestamptz, resolution interval) */
Datum
connpool_history_1_0(PG_FUNCTION_ARGS)
{
	HistorySpan span;
	int			metric = -1;

	cpm_require_preloaded("connpool_history()");
	if (!PG_ARGISNULL(0))
		metric = cpm_series_metric(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	span = span_arguments(fcinfo, 1);
	cpm_series_scan(span.rollup, metric, span.sample_ms, span.since, span.until, emit_point,
					cpm_rows_begin(fcinfo));
	return (Datum) 0;
}

/* connpool_load_history(since timestamptz, until timestamptz, resolution interval) */
Datum
connpool_load_history_1_0(PG_FUNCTION_ARGS)
{
	HistorySpan span;

	cpm_require_preloaded("connpool_load_history()");
	span = span_arguments(fcinfo, 0);
	cpm_series_scan_load(span.rollup, span.sample_ms, span.since, span.until, emit_load_point,
						 cpm_rows_begin(fcinfo));
	return (Datum) 0;
}
