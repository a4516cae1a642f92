/* SPDX-License-Identifier: PostgreSQL */
/*
 * timeline.c
 *		connpool_history(): what the metrics were.
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

typedef struct Listing
{
	ReturnSetInfo *result;
	CpmRow		row;
} Listing;

static bool
is_that_long(Interval *interval, int64 microseconds)
{
	Interval	wanted = {.time = microseconds};

	return DatumGetBool(DirectFunctionCall2(interval_eq, IntervalPGetDatum(interval),
											IntervalPGetDatum(&wanted)));
}

/* The coarser of two tiers that are equally fine reaches further back. */
static CpmRollup
tier_of(Interval *resolution)
{
	for (CpmRollup tier = CPM_ROLLUP_HOURS; tier > CPM_ROLLUP_SAMPLES; tier--)
		if (is_that_long(resolution, cpm_rollup_length_us(tier)))
			return tier;
	if (!is_that_long(resolution, cpm_sample_interval_ms * INT64CONST(1000)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the history has no tier of that resolution"),
				 errdetail("Its tiers are the samples (connpool_monitor.sample_interval, now %d ms), minutes and hours.",
						   cpm_sample_interval_ms),
				 errhint("Leave resolution out to get the finest tier that covers the time asked for.")));
	return CPM_ROLLUP_SAMPLES;
}

static void
list_point(const CpmPoint *point, void *arg)
{
	Listing    *listing = arg;
	CpmRow	   *row = &listing->row;

	cpm_row_timestamptz(row, point->at);
	cpm_row_interval(row, point->length_ms);
	cpm_row_text(row, cpm_catalogue[point->metric].name);
	cpm_row_float8(row, point->mean);
	cpm_row_float8(row, point->worst);
	cpm_row_emit(row, listing->result);
}

/* connpool_history(metric text, since timestamptz, until timestamptz, resolution interval) */
Datum
connpool_history_1_0(PG_FUNCTION_ARGS)
{
	Listing		listing = {0};
	TimestampTz since = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	bool		any = PG_ARGISNULL(3);
	int			metric = -1;
	CpmRollup	tier;

	cpm_require_preloaded("connpool_history()");
	if (!PG_ARGISNULL(0))
		metric = cpm_series_metric(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	/* by now(), of which since is likely to be made */
	tier = any ? cpm_series_tier(since, GetCurrentTransactionStartTimestamp()) :
		tier_of(PG_GETARG_INTERVAL_P(3));
	listing.result = cpm_rows_begin(fcinfo);
	cpm_series_scan(tier, metric, any ? 0 : cpm_sample_interval_ms, since, until, list_point,
					&listing);
	return (Datum) 0;
}
