/* SPDX-License-Identifier: PostgreSQL */
/*
 * notifier.c
 *		The background worker that sends one batch of alert transitions by NOTIFY.
 *
 * The sampler starts it when transitions are queued (workers/notify_launcher). It connects to
 * notify_database, sends all queued transitions in one transaction and exits. This takes well
 * under a second, which matters because DROP DATABASE waits for it.
 *
 * After the commit it removes the transitions from the queue. Any failure raises an error, which
 * ends the process; the sampler starts another one later. If the process ends between the commit
 * and the removal, the next notifier sends the batch again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/json.h"
#include "base/text_settings.h"
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

/* Return a transition as a JSON object, palloc'd. */
static char *
build_payload(const CpmNotification *notification)
{
	StringInfoData json;

	initStringInfo(&json);
	cpm_json_open(&json, NULL);
	cpm_json_text(&json, "metric", cpm_catalogue[notification->metric].name);
	cpm_json_text(&json, "status", cpm_status_name(notification->status));
	cpm_json_number(&json, "value", notification->value);
	cpm_json_number(&json, "max", notification->maximum);
	cpm_json_number(&json, "threshold", notification->threshold);
	cpm_json_past_time(&json, "at", notification->at);
	cpm_json_text(&json, "message", notification->message);
	cpm_json_number(&json, "seq", (double) notification->sequence);
	cpm_json_text(&json, "cluster_name", cluster_name);
	cpm_json_close(&json);
	return json.data;
}

static void
release_at_exit(int code, Datum argument)
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
	pqsignal(SIGTERM, die);		/* takes effect at CHECK_FOR_INTERRUPTS(), not in a commit */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(cpm_notify_database, NULL, 0);

	if (!cpm_notifier_claim(MyProcPid))
		proc_exit(0);
	before_shmem_exit(release_at_exit, (Datum) 0);
	pgstat_report_activity(STATE_RUNNING, "NOTIFY " CHANNEL);
	StartTransactionCommand();
	number = cpm_notifications_first();
	while (cpm_notification_get(number, &notification))
	{
		Async_Notify(CHANNEL, build_payload(&notification));
		number++;
	}
	CommitTransactionCommand();
	cpm_notifications_sent(number);
	proc_exit(0);
}
