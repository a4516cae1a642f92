/*
 * timeline.c
 *		connpool_history(): what the metrics were.
 */
#include "postgres.h"

#include <math.h>

#include "base/settings.h"
#include "fmgr.h"
#include "judge/catalogue.h"
#include "serve/access.h"
#include "serve/rows.h"
#include "store/history.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_history_1_0);

typedef struct HistoryListing
{
	ReturnSetInfo *result;
	int			metric;			/* -1: all */
	int			interval_ms;	/* of the rows wanted; 0: any */
	CpmRow		row;
} HistoryListing;

static int
metric_argument(FunctionCallInfo fcinfo, int argument)
{
	char	   *name;
	int			metric;

	if (PG_ARGISNULL(argument))
		return -1;
	name = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	metric = cpm_metric_by_name(name);
	if (metric < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no metric \"%s\"", name),
				 errhint("The metrics are those that get_connection_stats() lists.")));
	return metric;
}

/* There is one tier: the samples. Its resolution is sample_interval. */
static int
resolution_argument(FunctionCallInfo fcinfo, int argument)
{
	Interval	tier = {.time = cpm_sample_interval_ms * INT64CONST(1000)};

	if (PG_ARGISNULL(argument))
		return 0;
	if (!DatumGetBool(DirectFunctionCall2(interval_eq, PG_GETARG_DATUM(argument),
										  IntervalPGetDatum(&tier))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the history has no tier of that resolution"),
				 errdetail("Its resolution is connpool_monitor.sample_interval, now %d ms.",
						   cpm_sample_interval_ms),
				 errhint("Leave resolution out to get the finest tier that covers the time asked for.")));
	return cpm_sample_interval_ms;
}

/* Stored in single precision: what lies behind the thousandths is noise. */
static double
shown_value(float4 value)
{
	return fabs(value) < 1e6 ? rint(value * 1000.0) / 1000.0 : value;
}

/* Of a single sample that is its value, but for what is counted between samples. */
static float4
highest_value(const CpmHistoryRow *sample, CpmMetricId id)
{
	return id == CPM_TOTAL_CONNECTIONS ?
		Max(sample->value[id], sample->peak_connections) : sample->value[id];
}

static void
list_row(const CpmHistoryRow *sample, void *arg)
{
	HistoryListing *listing = arg;
	CpmRow	   *row = &listing->row;

	if (listing->interval_ms != 0 && sample->interval_ms != listing->interval_ms)
		return;
	for (int i = 0; i < CPM_METRICS; i++)
	{
		if ((listing->metric >= 0 && i != listing->metric) || !cpm_is_number(sample->value[i]))
			continue;
		cpm_row_timestamptz(row, sample->at);
		cpm_row_interval(row, sample->interval_ms);
		cpm_row_text(row, cpm_catalogue[i].name);
		cpm_row_float8(row, shown_value(sample->value[i]));
		cpm_row_float8(row, shown_value(highest_value(sample, i)));
		cpm_row_emit(row, listing->result);
	}
}

/* connpool_history(metric text, since timestamptz, until timestamptz, resolution interval) */
Datum
connpool_history_1_0(PG_FUNCTION_ARGS)
{
	HistoryListing listing = {0};
	TimestampTz since = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);

	cpm_require_preloaded("connpool_history()");
	listing.metric = metric_argument(fcinfo, 0);
	listing.interval_ms = resolution_argument(fcinfo, 3);
	listing.result = cpm_rows_begin(fcinfo);
	cpm_history_scan(since, until, list_row, &listing);
	return (Datum) 0;
}
