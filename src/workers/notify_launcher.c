/* SPDX-License-Identifier: PostgreSQL */
/*
 * notify_launcher.c
 *		The sampler's part in NOTIFY: what is to be told, and who is to tell it.
 *
 * NOTIFY needs a database, and the sampler must not be attached to one. So a
 * worker is started for each batch (workers/notifier), which connects, tells and
 * ends. It may fail in every way (the database is gone, no worker slot is free, a
 * lock is held): then it is tried again, after a second, two, four and so on up
 * to a minute, and what waits meanwhile waits in a queue of fixed size.
 *
 * On a standby nobody can NOTIFY: what happens there is not kept for later.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "base/settings.h"
#include "postmaster/bgworker.h"
#include "samples/notify_queue.h"
#include "utils/memutils.h"
#include "workers/notify_launcher.h"

#define LEAST_PAUSE_US (1 * USECS_PER_SEC)
#define MOST_PAUSE_US (60 * USECS_PER_SEC)
#define PATIENCE_US (10 * USECS_PER_SEC)	/* a notifier that takes longer is ended */

/* Of the process: a new sampler begins anew, and lets the notifier of the last one be. */
static BackgroundWorkerHandle *notifier;
static int64 started_us;		/* when that was */
static uint64 told_before;
static int64 pause_us;			/* after the last failure; 0 after a success */
static int64 retry_at_us;
static char told_database[NAMEDATALEN]; /* to which all that applies */

#define MOST_RATE 1000			/* of notify_rate */

/* When the last so many were told of, by the monotonic clock, going round; 0: not yet. */
static int64 told_at_us[MOST_RATE];
static int	next_told;

/* Not more than notify_rate in any second, wherever it begins. If so, it is taken to be told. */
static bool
is_within_rate(int64 now_us)
{
	int64		before_us = told_at_us[(next_told + MOST_RATE - cpm_notify_rate) % MOST_RATE];

	if (before_us != 0 && now_us - before_us < USECS_PER_SEC)
		return false;
	told_at_us[next_told] = now_us;
	next_told = (next_told + 1) % MOST_RATE;
	return true;
}

static bool
is_wanted(void)
{
	return cpm_notify_database[0] != '\0' && !RecoveryInProgress();
}

static double
crossed_threshold(CpmStatus status, CpmStatus before, const CpmAlertRow *row)
{
	/* of an alert that is over, the one that it had crossed */
	CpmStatus	level = status != CPM_OK ? status : before;

	return level == CPM_CRITICAL ? row->critical : row->warning;
}

void
cpm_notify_launcher_enqueue(CpmMetricId id, CpmStatus before, const CpmAlertRow *row, TimestampTz at,
							uint64 sequence, int64 now_us)
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

	if (!is_wanted())
		return;
	if (!is_within_rate(now_us))
	{
		cpm_notification_drop();
		return;
	}
	strlcpy(notification.message, row->message, sizeof(notification.message));
	(void) cpm_notification_add(&notification);
}

static void
note_failure(int64 now_us)
{
	pause_us = pause_us == 0 ? LEAST_PAUSE_US : Min(pause_us * 2, MOST_PAUSE_US);
	retry_at_us = now_us + pause_us;
	cpm_notifications_set_failing(true);
}

static void
note_success(void)
{
	pause_us = 0;
	cpm_notifications_set_failing(false);
}

/* Another database is another try. */
static void
follow_setting(void)
{
	if (strncmp(told_database, cpm_notify_database, NAMEDATALEN - 1) == 0)
		return;
	strlcpy(told_database, cpm_notify_database, NAMEDATALEN);
	note_success();
}

/* Has the notifier ended? If so, what it has done is seen in the queue. */
static void
look_after_notifier(int64 now_us)
{
	pid_t		pid;

	if (GetBackgroundWorkerPid(notifier, &pid) != BGWH_STOPPED)
	{
		if (now_us - started_us > PATIENCE_US)
			TerminateBackgroundWorker(notifier);
		return;
	}
	pfree(notifier);
	notifier = NULL;
	if (cpm_notifications_first() == told_before)
		note_failure(now_us);
	else
		note_success();
}

static void
start_notifier(int64 now_us)
{
	BackgroundWorker worker = {
		.bgw_name = "connpool_monitor notifier",
		.bgw_type = "connpool_monitor notifier",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "connpool_monitor",
		.bgw_function_name = "cpm_notifier_main",
	};
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

	told_before = cpm_notifications_first();
	started_us = now_us;
	if (!RegisterDynamicBackgroundWorker(&worker, &notifier))
	{
		if (pause_us == 0)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("connpool_monitor: no slot of max_worker_processes is free for NOTIFY"),
					 errhint("Raise max_worker_processes and restart. Until one is free transitions wait, and are dropped when too many do.")));
		notifier = NULL;
		note_failure(now_us);
	}
	MemoryContextSwitchTo(old_context);
}

void
cpm_notify_launcher_round(int64 now_us)
{
	if (notifier != NULL)
		look_after_notifier(now_us);
	follow_setting();
	if (notifier != NULL || cpm_notifications_waiting() == 0)
		return;
	if (!is_wanted())
	{
		cpm_notifications_clear();
		note_success();
	}
	else if (pause_us == 0 || now_us >= retry_at_us)
		start_notifier(now_us);
}

void
cpm_notify_launcher_end(void)
{
	if (notifier != NULL)
		TerminateBackgroundWorker(notifier);
}
