/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_launcher.c
 *		Queues alert transitions for NOTIFY and starts the worker that sends them.
 *
 * NOTIFY needs a database, and the sampler must not be attached to one. So the sampler starts a
 * worker for each batch (workers/notifier), which connects, sends and exits. That can fail in many
 * ways: the database does not exist, no worker slot is free, a lock is held. The sampler retries
 * after 1, 2, 4 and so on up to 60 seconds; meanwhile transitions wait in a queue of fixed size.
 *
 * A standby cannot execute NOTIFY, so transitions that happen there are not queued.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "base/settings.h"
#include "base/text_settings.h"
#include "postmaster/bgworker.h"
#include "samples/notify_queue.h"
#include "utils/memutils.h"
#include "workers/notify_launcher.h"
#include "workers/register.h"

#define MIN_RETRY_DELAY_US (1 * USECS_PER_SEC)
#define MAX_RETRY_DELAY_US (60 * USECS_PER_SEC)
#define NOTIFIER_TIMEOUT_US (10 * USECS_PER_SEC)	/* a notifier that runs longer is terminated */

/*
 * Local to the sampler's process. A restarted sampler starts with zeros and does not manage a
 * notifier that its predecessor started.
 */
static BackgroundWorkerHandle *notifier;	/* NULL while none runs */
static int64 started_us;		/* when the notifier was started */
static uint64 first_at_start;	/* cpm_notifications_first() when the notifier was started */
static int64 retry_delay_us;	/* 0 after a success */
static int64 retry_at_us;		/* time of the next attempt; ignored if retry_delay_us is 0 */
static char previous_database[NAMEDATALEN]; /* notify_database in the previous round */

#define MAX_RATE 1000			/* the maximum of notify_rate */

/* A ring of the times at which the last transitions were queued; 0: not used yet. */
static int64 enqueued_at_us[MAX_RATE];
static int	next_enqueued;

/*
 * Return true, and record the time, if fewer than notify_rate transitions were queued in the last
 * second. The limit holds in every window of one second; the token bucket of base/rate_limit
 * would permit up to twice the rate in some.
 */
static bool
rate_allows(int64 now_us)
{
	int			before = (next_enqueued + MAX_RATE - cpm_notify_rate) % MAX_RATE;

	if (enqueued_at_us[before] != 0 && now_us - enqueued_at_us[before] < USECS_PER_SEC)
		return false;
	enqueued_at_us[next_enqueued] = now_us;
	next_enqueued = (next_enqueued + 1) % MAX_RATE;
	return true;
}

static bool
can_notify(void)
{
	return cpm_notify_database[0] != '\0' && !RecoveryInProgress();
}

static double
crossed_threshold(CpmStatus status, CpmStatus before, const CpmAlertRow *row)
{
	/* When an alert ends, report the threshold that it had exceeded. */
	CpmStatus	level = status != CPM_OK ? status : before;

	return level == CPM_CRITICAL ? row->critical : row->warning;
}

void
cpm_notify_launcher_enqueue(CpmMetricId id, CpmStatus before, const CpmAlertRow *row,
							TimestampTz at, uint64 sequence, int64 now_us)
{
	CpmNotification notification = {
		.sequence = sequence,
		.at = at,
		.metric = id,
		.status = row->alert.status,
		.value = row->value,
		.maximum = row->maximum,
		.threshold = crossed_threshold(row->alert.status, before, row),
	};

	if (!can_notify())
		return;
	if (!rate_allows(now_us))
	{
		cpm_notification_drop();
		return;
	}
	strlcpy(notification.message, row->message, sizeof(notification.message));
	(void) cpm_notification_add(&notification);
}

static void
record_failure(int64 now_us)
{
	retry_delay_us = retry_delay_us == 0 ? MIN_RETRY_DELAY_US :
		Min(retry_delay_us * 2, MAX_RETRY_DELAY_US);
	retry_at_us = now_us + retry_delay_us;
	cpm_notifications_set_failing(true);
}

static void
record_success(void)
{
	retry_delay_us = 0;
	cpm_notifications_set_failing(false);
}

/* If notify_database has changed, discard the failures: they concern the previous database. */
static void
apply_database_setting(void)
{
	if (strncmp(previous_database, cpm_notify_database, NAMEDATALEN - 1) == 0)
		return;
	strlcpy(previous_database, cpm_notify_database, NAMEDATALEN);
	record_success();
}

/*
 * If the notifier has exited, free its handle and record its result: it succeeded if it removed
 * transitions from the queue. If it has run for too long, terminate it.
 */
static void
check_notifier(int64 now_us)
{
	pid_t		pid;

	if (GetBackgroundWorkerPid(notifier, &pid) != BGWH_STOPPED)
	{
		if (now_us - started_us > NOTIFIER_TIMEOUT_US)
			TerminateBackgroundWorker(notifier);
		return;
	}
	pfree(notifier);
	notifier = NULL;
	if (cpm_notifications_first() == first_at_start)
		record_failure(now_us);
	else
		record_success();
}

/* Start a notifier. If no worker slot is free, log a warning unless the last attempt failed. */
static void
start_notifier(int64 now_us)
{
	BackgroundWorker worker = cpm_worker_of_name("notifier", "connpool_monitor",
												 BgWorkerStart_RecoveryFinished,
												 BGW_NEVER_RESTART);
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

	first_at_start = cpm_notifications_first();
	started_us = now_us;
	if (!RegisterDynamicBackgroundWorker(&worker, &notifier))
	{
		if (retry_delay_us == 0)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("connpool_monitor: no slot of max_worker_processes is free "
							"for NOTIFY"),
					 errhint("Raise max_worker_processes and restart. Until a slot is free, "
							 "transitions wait in a queue and are dropped when it is full.")));
		notifier = NULL;
		record_failure(now_us);
	}
	MemoryContextSwitchTo(old_context);
}

void
cpm_notify_launcher_round(int64 now_us)
{
	if (notifier != NULL)
		check_notifier(now_us);
	apply_database_setting();
	if (notifier != NULL || cpm_notifications_waiting() == 0)
		return;
	if (!can_notify())
	{
		cpm_notifications_clear();
		record_success();
	}
	else if (retry_delay_us == 0 || now_us >= retry_at_us)
		start_notifier(now_us);
}

void
cpm_notify_launcher_end(void)
{
	if (notifier != NULL)
		TerminateBackgroundWorker(notifier);
}
