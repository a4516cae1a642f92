/* SPDX-License-Identifier: PostgreSQL */
/*
 * series.c
 *		Reads past values of metrics from the samples or from a rollup of them.
 */
#include "postgres.h"

#include <math.h>

#include "base/settings.h"
#include "functions/series.h"
#include "rules/catalogue.h"
#include "samples/sample_ring.h"
#include "utils/timestamp.h"

/* The arguments of a scan. */
typedef struct SeriesScan
{
	int			metric;			/* -1: all */
	int			sample_ms;		/* visit only samples taken at this interval; 0: all */
	int64		length_ms;		/* of a row of the rollup */
	CpmPointVisitor visit;
	CpmLoadPointVisitor visit_load;
	void	   *arg;
} SeriesScan;

/* Round to thousandths. Values are stored in single precision, so further digits are noise. */
static double
round_value(float4 value)
{
	return fabs(value) < 1e6 ? rint(value * 1000.0) / 1000.0 : value;
}

static void
visit_value(const SeriesScan *scan, CpmMetricId id, TimestampTz at, int64 length_ms, float4 mean,
			float4 worst)
{
	CpmPoint	point = {
		.metric = id,
		.at = at,
		.length_ms = length_ms,
		.mean = round_value(mean),
		.worst = round_value(worst),
	};

	if (cpm_is_number(mean) && (scan->metric < 0 || scan->metric == (int) id))
		scan->visit(&point, scan->arg);
}

static void
visit_sample(const CpmSampleRow *sample, void *arg)
{
	const SeriesScan *scan = arg;

	if (scan->sample_ms != 0 && sample->interval_ms != scan->sample_ms)
		return;
	for (int i = 0; i < CPM_METRICS; i++)
		visit_value(scan, i, sample->at, sample->interval_ms, sample->value[i],
					cpm_sample_row_worst(sample, i));
}

static void
visit_rollup(const CpmRollupRow *row, void *arg)
{
	const SeriesScan *scan = arg;

	for (int i = 0; i < CPM_METRICS; i++)
		visit_value(scan, i, row->start, scan->length_ms, row->mean[i], row->worst[i]);
}

static void
visit_load(const SeriesScan *scan, TimestampTz at, int64 length_ms, const float4 *busy)
{
	CpmLoadPoint point = {.at = at, .length_ms = length_ms};

	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		point.sessions[i] = round_value(busy[i]);
	scan->visit_load(&point, scan->arg);
}

static void
visit_sample_load(const CpmSampleRow *sample, void *arg)
{
	const SeriesScan *scan = arg;

	if (scan->sample_ms == 0 || sample->interval_ms == scan->sample_ms)
		visit_load(scan, sample->at, sample->interval_ms, sample->busy);
}

static void
visit_rollup_load(const CpmRollupRow *row, void *arg)
{
	const SeriesScan *scan = arg;

	visit_load(scan, row->start, scan->length_ms, row->busy);
}

CpmRollup
cpm_series_rollup(TimestampTz since, TimestampTz now)
{
	int64		samples_us = CPM_HISTORY_SAMPLES * (int64) cpm_sample_interval_ms * 1000;
	int64		minutes_us = CPM_MINUTES_KEPT * cpm_rollup_length_us(CPM_ROLLUP_MINUTES);

	/* compare, rather than subtract, because since may be infinite */
	if (since >= now - samples_us)
		return CPM_ROLLUP_SAMPLES;
	return since >= now - minutes_us ? CPM_ROLLUP_MINUTES : CPM_ROLLUP_HOURS;
}

void
cpm_series_scan(CpmRollup rollup, int metric, int sample_ms, TimestampTz since, TimestampTz until,
				CpmPointVisitor visit, void *arg)
{
	SeriesScan	scan = {.metric = metric, .sample_ms = sample_ms, .visit = visit, .arg = arg};

	if (rollup == CPM_ROLLUP_SAMPLES)
	{
		cpm_sample_ring_scan(since, until, visit_sample, &scan);
		return;
	}
	scan.length_ms = cpm_rollup_length_us(rollup) / 1000;
	cpm_rollup_scan(rollup, since, until, visit_rollup, &scan);
}

void
cpm_series_scan_load(CpmRollup rollup, int sample_ms, TimestampTz since, TimestampTz until,
					 CpmLoadPointVisitor visit, void *arg)
{
	SeriesScan	scan = {.sample_ms = sample_ms, .visit_load = visit, .arg = arg};

	if (rollup == CPM_ROLLUP_SAMPLES)
	{
		cpm_sample_ring_scan(since, until, visit_sample_load, &scan);
		return;
	}
	scan.length_ms = cpm_rollup_length_us(rollup) / 1000;
	cpm_rollup_scan(rollup, since, until, visit_rollup_load, &scan);
}

int
cpm_series_metric(const char *name)
{
	int			metric = name ? cpm_metric_by_name(name) : -1;

	if (metric < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no metric \"%s\"", name ? name : "NULL"),
				 errhint("The metrics are those that get_connection_stats() lists.")));
	return metric;
}
