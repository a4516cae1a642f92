/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerts.c
 *		Runs the alert of one metric over a series of samples and prints each state.
 *
 * Usage: alerts METRIC AFTER CLEAR REPEAT, with times in milliseconds.
 *
 * Reads a line for each sample: elapsed milliseconds, value ("nan": unknown, "inf": exhaustion not
 * foreseeable), thresholds for WARNING and CRITICAL (-1: off), silent (0 or 1). Prints for each:
 * event, status, raised levels, peak, start of the status. t/020_alert_model.pl compares the
 * output with its own model.
 */
#include "postgres.h"

#include <math.h>

#include "rules/alerts.h"

/* this program does not link the server's printf */
#undef printf
#undef snprintf
#include <stdio.h>
#include <stdlib.h>

static void
clear(CpmAlert *alert)
{
	memset(alert, 0, sizeof(*alert));
	for (int level = 0; level < 2; level++)
		alert->held_us[level] = alert->clear_us[level] = -1;
	alert->peak = NAN;
}

int
main(int argc, char **argv)
{
	CpmMetricId id = argc == 5 ? (CpmMetricId) cpm_metric_by_name(argv[1]) : 0;
	CpmAlertRules rules = {0};
	CpmSample	sample = {.usable_slots = 100, .max_connections = 103, .sources = ~0};
	CpmAlert	alert;
	double		elapsed_ms;
	char		value[64];
	int			silent;
	CpmThresholds thresholds = {.maximum = -1};
	TimestampTz now = 1000;

	if (argc != 5)
		return 1;
	rules.after_us = atoll(argv[2]) * 1000;
	rules.clear_after_us = atoll(argv[3]) * 1000;
	rules.repeat_us = atoll(argv[4]) * 1000;
	clear(&alert);
	while (scanf("%lf %63s %lf %lf %d", &elapsed_ms, value, &thresholds.warning,
				 &thresholds.critical, &silent) == 5)
	{
		CpmVerdict	verdict;
		CpmAlertEvent event;

		sample.value[id] = strtod(value, NULL);
		rules.is_silent = silent != 0;
		now += (TimestampTz) (elapsed_ms * 1000);
		verdict = cpm_evaluate_metric(id, &sample, thresholds);
		event = cpm_alert_step(&alert, id, &verdict, &rules, now, (int64) (elapsed_ms * 1000));
		printf("%d %d %d%d %.3f %lld\n", event, alert.status, alert.raised[0], alert.raised[1],
			   isnan(alert.peak) ? -1.0 : alert.peak, (long long) alert.since);
	}
	return 0;
}
