/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_messages.c
 *		Writes alerts to the server log.
 *
 * The message states the problem. DETAIL gives the previous status, or since when the current one
 * has lasted, and the main contributors. HINT names the view to examine and the remedy. The
 * number of messages a second is limited, because a value that crosses its threshold at every
 * sample would fill the log. connpool_alert_log records every transition.
 */
#include "postgres.h"

#include "base/rate_limit.h"
#include "lib/stringinfo.h"
#include "rules/catalogue.h"
#include "utils/timestamp.h"
#include "workers/alert_messages.h"

#define MAX_MESSAGES_PER_SECOND 20

static CpmRateLimit limit;
static uint64 suppressed;		/* messages since the last one that was logged */

/*
 * Return true if the rate limit is exceeded, and count the message as suppressed. Otherwise log
 * the number of messages that were suppressed since the last one, if any.
 */
static bool
is_over_limit(int64 now_us)
{
	if (!cpm_rate_limit_allows(&limit, MAX_MESSAGES_PER_SECOND, now_us))
	{
		suppressed++;
		return true;
	}
	if (suppressed > 0)
		ereport(LOG,
				(errmsg_plural("connpool_monitor: " UINT64_FORMAT " alert message was suppressed: "
							   "more than %d a second",
							   "connpool_monitor: " UINT64_FORMAT " alert messages were "
							   "suppressed: more than %d a second",
							   suppressed, suppressed, MAX_MESSAGES_PER_SECOND),
				 errhint("connpool_alert_log has all transitions. "
						 "Raise connpool_monitor.alert_after and alert_clear_after."),
				 errhidestmt(true)));
	suppressed = 0;
	return false;
}

static void
log_recovery(CpmAlertEvent event, CpmStatus before, const CpmAlertRow *row)
{
	if (event == CPM_ALERT_TRANSITION)
		ereport(LOG,
				(errmsg("connpool_monitor: recovered from %s: %s", cpm_status_name(before),
						row->message),
				 errhidestmt(true)));
	else
		ereport(LOG,
				(errmsg("connpool_monitor: %s ended because a setting changed: %s",
						cpm_status_name(before), row->message),
				 errhidestmt(true)));
}

static char *
alert_detail(CpmStatus before, const CpmAlertRow *row, bool is_repeat)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (is_repeat)
		appendStringInfo(&detail, "The status has been %s since %s.",
						 cpm_status_name(row->alert.status),
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

	if (is_over_limit(now_us))
		return;
	if (row->alert.status == CPM_OK)
	{
		log_recovery(event, before, row);
		return;
	}
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("connpool_monitor: %s%s: %s", is_repeat ? "still " : "",
					cpm_status_name(row->alert.status), row->message),
			 errdetail_internal("%s", alert_detail(before, row, is_repeat)),
			 errhint("%s", cpm_catalogue[id].hint),
			 errhidestmt(true)));
}
