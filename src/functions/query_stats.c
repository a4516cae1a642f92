/* SPDX-License-Identifier: PostgreSQL */
/*
 * query_stats.c
 *		connpool_query_stats and connpool_query_histogram: numbers and durations of statements.
 *
 * The number of statements is the sum of the histogram's buckets, so that totals, percentiles and
 * the histogram describe the same set of statements.
 */
#include "postgres.h"

#include <math.h>

#include "base/histogram.h"
#include "counters/stat_windows.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_query_stats_1_0);
PG_FUNCTION_INFO_V1(connpool_query_histogram_1_0);

/* Minimum divisor for the rates of the last minute and the last hour. */
#define MIN_RATE_SECONDS 60.0

/*
 * Return the seconds by which to divide the period's count. A sliding window shorter than a minute
 * counts as a minute, because otherwise a few statements just after a reset would give an enormous
 * rate.
 */
static double
rate_seconds(CpmStatWindow period, int64 length_us)
{
	double		seconds = (double) Max(length_us, 1) / USECS_PER_SEC;

	return period == CPM_SINCE_RESET ? seconds : Max(seconds, MIN_RATE_SECONDS);
}

static void
add_percentile(CpmRow *row, const CpmStatWindowCounts *stats, double fraction)
{
	double		max_us = stats->max_us > 0 ? (double) stats->max_us : NAN;

	cpm_row_float8(row, cpm_histogram_percentile_us(&stats->histogram, fraction, max_us) / 1000);
}

static void
add_period(CpmRow *row, CpmStatWindow period)
{
	CpmStatWindowCounts *stats = palloc(sizeof(CpmStatWindowCounts));
	double		total;
	double		failed;
	double		sum_us;

	cpm_stat_window_read(period, stats);
	total = (double) cpm_histogram_total(&stats->histogram);
	sum_us = (double) stats->counts.of[CPM_QUERY_TIME_US];
	failed = Min((double) stats->counts.of[CPM_FAILED_QUERIES], total);

	cpm_row_text(row, cpm_stat_window_name(period));
	cpm_row_past_time(row, stats->since);
	cpm_row_int8(row, (int64) total);
	cpm_row_int8(row, (int64) (total - failed));
	cpm_row_int8(row, (int64) failed);
	cpm_row_float8(row, total > 0 ? (total - failed) / total : NAN);
	cpm_row_float8(row, total > 0 ? sum_us / total / 1000 : NAN);
	add_percentile(row, stats, 0.50);
	add_percentile(row, stats, 0.95);
	add_percentile(row, stats, 0.99);
	cpm_row_float8(row, total > 0 ? (double) stats->max_us / 1000 : NAN);
	cpm_row_float8(row, total / rate_seconds(period, stats->length_us));
	pfree(stats);
}

/*
 * Columns: period, since, total_queries, successful_queries, failed_queries, success_rate,
 * avg_time, p50_time, p95_time, p99_time, max_time, queries_per_second.
 */
Datum
connpool_query_stats_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_query_stats");
	CpmRow		row = {0};

	for (int i = 0; i < CPM_STAT_WINDOWS; i++)
	{
		add_period(&row, i);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

/* Columns: lower_time, upper_time, queries. Empty buckets have no row. */
Datum
connpool_query_histogram_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_query_histogram");
	CpmStatWindowCounts *stats;
	CpmRow		row = {0};

	stats = palloc(sizeof(CpmStatWindowCounts));
	cpm_stat_window_read(CPM_SINCE_RESET, stats);
	for (int i = 0; i < CPM_BUCKETS; i++)
	{
		if (stats->histogram.count[i] == 0)
			continue;
		cpm_row_float8(&row, cpm_bucket_lower_us(i) / 1000);
		cpm_row_bound(&row, cpm_bucket_lower_us(i + 1) / 1000);
		cpm_row_int8(&row, stats->histogram.count[i]);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}
