/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_views.c
 *		connpool_alerts: the current status of each alert.
 *		connpool_alert_log: the status changes of all alerts.
 */
#include "postgres.h"

#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "samples/take_sample.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(connpool_alerts_1_0);
PG_FUNCTION_INFO_V1(connpool_alert_log_1_0);
PG_FUNCTION_INFO_V1(connpool_hint_1_0);

/*
 * Return the culprit; NULL if there is none, or if the caller may not see the sessions of all
 * roles. The culprit may be a session of any role, and its role is not recorded.
 */
static const char *
culprit_or_null(const char *culprit)
{
	return culprit[0] != '\0' && cpm_may_see_all() ? culprit : NULL;
}

/*
 * Columns: metric_name, status, since, current_value, max_value, warning, critical, peak_value,
 * message, culprit; in the catalogue's order.
 */
Datum
connpool_alerts_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_alerts");
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));
	int			sources = cpm_sample_sources();
	CpmRow		row = {0};

	cpm_alert_board_get(board);

	for (int i = 0; i < CPM_METRICS; i++)
	{
		const CpmAlertRow *alert_row = &board->row[i];

		if (!cpm_metric_is_available(&cpm_catalogue[i], sources))
			continue;
		cpm_row_text(&row, cpm_catalogue[i].name);
		cpm_row_text(&row, cpm_status_name(alert_row->alert.status));
		cpm_row_past_time(&row, alert_row->alert.since);
		cpm_row_float8(&row, alert_row->value);
		cpm_row_float8(&row, alert_row->maximum);
		cpm_row_float8(&row, alert_row->warning);
		cpm_row_float8(&row, alert_row->critical);
		cpm_row_float8(&row, alert_row->alert.peak);
		cpm_row_text(&row, alert_row->alert.status != CPM_OK ? alert_row->message : NULL);
		cpm_row_text(&row, culprit_or_null(alert_row->culprit));
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

static void
emit_log_entry(const CpmAlertLogEntry *entry, void *arg)
{
	CpmRow		row = {0};

	cpm_row_past_time(&row, entry->at);
	cpm_row_text(&row, cpm_catalogue[entry->metric].name);
	cpm_row_text(&row, cpm_status_name(entry->from_status));
	cpm_row_text(&row, cpm_status_name(entry->to_status));
	cpm_row_float8(&row, entry->value);
	cpm_row_nonempty_text(&row, entry->message);
	cpm_row_text(&row, culprit_or_null(entry->culprit));
	cpm_row_int8(&row, (int64) entry->sequence);
	cpm_row_emit(&row, arg);
}

/*
 * Columns: at, metric_name, from_status, to_status, value, message, culprit, seq. Newest row
 * first.
 */
Datum
connpool_alert_log_1_0(PG_FUNCTION_ARGS)
{
	cpm_alert_log_scan(emit_log_entry, cpm_view_begin(fcinfo, "connpool_alert_log"));
	return (Datum) 0;
}

/*
 * _connpool_hint(metric text): the HINT of the metric's log messages; NULL for an unknown metric.
 */
Datum
connpool_hint_1_0(PG_FUNCTION_ARGS)
{
	int			metric = cpm_metric_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (metric < 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(cpm_catalogue[metric].hint));
}
