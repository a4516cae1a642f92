/* SPDX-License-Identifier: PostgreSQL */
/*
 * notifier.c
 *		The background worker that tells a batch of transitions by NOTIFY.
 *
 * Started by the sampler (workers/notify_launcher) when something waits; connects to
 * notify_database, tells all that waits in one transaction, and ends: it is
 * there for well under a second, and DROP DATABASE waits for that. What is
 * told is taken from the queue only once it is committed. Whatever goes wrong
 * is an error that ends the process, and the sampler tries again later.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/json.h"
#include "base/settings.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "rules/catalogue.h"
#include "samples/notify_queue.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "workers/notifier.h"

#define CHANNEL "connpool_alerts"

static char *
payload_of(const CpmNotification *notification)
{
	StringInfoData json;

	initStringInfo(&json);
	cpm_json_open(&json, NULL);
	cpm_json_text(&json, "metric", cpm_catalogue[notification->metric].name);
	cpm_json_text(&json, "status", cpm_status_name(notification->status));
	cpm_json_number(&json, "value", notification->value);
	cpm_json_number(&json, "max", notification->maximum);
	cpm_json_number(&json, "threshold", notification->threshold);
	cpm_json_time(&json, "at", notification->at);
	cpm_json_text(&json, "message", notification->message);
	cpm_json_number(&json, "seq", (double) notification->sequence);
	cpm_json_text(&json, "cluster_name", cluster_name);
	cpm_json_close(&json);
	return json.data;
}

static void
release(int code, Datum argument)
{
	(void) code;
	(void) argument;
	cpm_notifier_release(MyProcPid);
}

void
cpm_notifier_main(Datum argument)
{
	uint64		number;
	CpmNotification notification;

	(void) argument;
	pqsignal(SIGTERM, die);		/* where it is safe, and not in the middle of a commit */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(cpm_notify_database, NULL, 0);

	if (!cpm_notifier_claim(MyProcPid))
		proc_exit(0);
	before_shmem_exit(release, (Datum) 0);
	pgstat_report_activity(STATE_RUNNING, "NOTIFY " CHANNEL);
	StartTransactionCommand();
	number = cpm_notifications_first();
	while (cpm_notification_get(number, &notification))
	{
		Async_Notify(CHANNEL, payload_of(&notification));
		number++;
	}
	CommitTransactionCommand();
	cpm_notifications_sent(number);
	proc_exit(0);
}
