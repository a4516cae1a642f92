/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_messages.c
 *		Writes an alert to the server log.
 *
 * Read at three in the morning: the message says what is wrong, DETAIL since
 * when and by whom, HINT what to look at and what to do.
 */
#include "postgres.h"

#include "base/rate_limit.h"
#include "lib/stringinfo.h"
#include "rules/catalogue.h"
#include "utils/timestamp.h"
#include "workers/alert_messages.h"

#define MOST_A_SECOND 20

static CpmRateLimit limit;		/* of the process */
static uint64 left_out;

/*
 * Thresholds that are met and missed at every sample must not fill the log. What
 * is left out is in connpool_alert_log.
 */
static bool
is_too_much(int64 now_us)
{
	if (!cpm_rate_limit_allows(&limit, MOST_A_SECOND, now_us))
	{
		left_out++;
		return true;
	}
	if (left_out > 0)
		ereport(LOG,
				(errmsg("connpool_monitor: " UINT64_FORMAT " messages of alerts were left out: more than %d a second",
						left_out, MOST_A_SECOND),
				 errhint("They are in connpool_alert_log. Raise connpool_monitor.alert_after and alert_clear_after."),
				 errhidestmt(true)));
	left_out = 0;
	return false;
}

static void
announce_end(CpmAlertEvent event, CpmStatus before, const CpmAlertRow *row)
{
	ereport(LOG,
			(errmsg("connpool_monitor: %s %s: %s",
					event == CPM_ALERT_DROPPED ? "no longer watched for" : "recovered from",
					cpm_status_name(before), row->message),
			 errhidestmt(true)));
}

static char *
detail_of(CpmStatus before, const CpmAlertRow *row, bool is_repeat)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (is_repeat)
		appendStringInfo(&detail, "It has been so since %s.",
						 timestamptz_to_str(row->alert.since));
	else
		appendStringInfo(&detail, "The status was %s.", cpm_status_name(before));
	if (row->culprit[0] != '\0')
		appendStringInfo(&detail, " %s.", row->culprit);
	return detail.data;
}

void
cpm_log_alert(CpmMetricId id, CpmAlertEvent event, CpmStatus before, const CpmAlertRow *row,
			  int64 now_us)
{
	bool		is_repeat = event == CPM_ALERT_REPEAT;

	if (is_too_much(now_us))
		return;
	if (row->alert.status == CPM_OK)
	{
		announce_end(event, before, row);
		return;
	}
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("connpool_monitor: %s%s: %s", is_repeat ? "still " : "",
					cpm_status_name(row->alert.status), row->message),
			 errdetail_internal("%s", detail_of(before, row, is_repeat)),
			 errhint("%s", cpm_catalogue[id].hint),
			 errhidestmt(true)));
}
