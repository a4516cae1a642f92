/* SPDX-License-Identifier: PostgreSQL */
/*
 * series.c
 *		What metrics were, out of whichever tier of the history answers best.
 */
#include "postgres.h"

#include <math.h>

#include "base/settings.h"
#include "functions/series.h"
#include "rules/catalogue.h"
#include "samples/sample_ring.h"
#include "utils/timestamp.h"

typedef struct Scan
{
	int			metric;
	int			sample_ms;
	int64		length_ms;		/* of a row of the tier */
	CpmPointVisitor visit;
	void	   *arg;
} Scan;

/* Stored in single precision: what lies behind the thousandths is noise. */
static double
shown_value(float4 value)
{
	return fabs(value) < 1e6 ? rint(value * 1000.0) / 1000.0 : value;
}

static void
visit_value(const Scan *scan, CpmMetricId id, TimestampTz at, int64 length_ms, float4 mean,
			float4 worst)
{
	CpmPoint	point = {
		.metric = id,
		.at = at,
		.length_ms = length_ms,
		.mean = shown_value(mean),
		.worst = shown_value(worst),
	};

	if (cpm_is_number(mean) && (scan->metric < 0 || scan->metric == (int) id))
		scan->visit(&point, scan->arg);
}

static void
visit_sample(const CpmSampleRow *sample, void *arg)
{
	const Scan *scan = arg;

	if (scan->sample_ms != 0 && sample->interval_ms != scan->sample_ms)
		return;
	for (int i = 0; i < CPM_METRICS; i++)
		visit_value(scan, i, sample->at, sample->interval_ms, sample->value[i],
					cpm_sample_row_worst(sample, i));
}

static void
visit_row(const CpmRollupRow *row, void *arg)
{
	const Scan *scan = arg;

	for (int i = 0; i < CPM_METRICS; i++)
		visit_value(scan, i, row->start, scan->length_ms, row->mean[i], row->worst[i]);
}

CpmRollup
cpm_series_tier(TimestampTz since, TimestampTz now)
{
	int64		samples_us = CPM_HISTORY_SAMPLES * (int64) cpm_sample_interval_ms * 1000;
	int64		minutes_us = CPM_MINUTES_KEPT * cpm_rollup_length_us(CPM_ROLLUP_MINUTES);

	/* not by subtraction: since may be infinite */
	if (since >= now - samples_us)
		return CPM_ROLLUP_SAMPLES;
	return since >= now - minutes_us ? CPM_ROLLUP_MINUTES : CPM_ROLLUP_HOURS;
}

void
cpm_series_scan(CpmRollup tier, int metric, int sample_ms, TimestampTz since, TimestampTz until,
				CpmPointVisitor visit, void *arg)
{
	Scan		scan = {.metric = metric, .sample_ms = sample_ms, .visit = visit, .arg = arg};

	if (tier == CPM_ROLLUP_SAMPLES)
	{
		cpm_sample_ring_scan(since, until, visit_sample, &scan);
		return;
	}
	scan.length_ms = cpm_rollup_length_us(tier) / 1000;
	cpm_rollup_scan(tier, since, until, visit_row, &scan);
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
