/* SPDX-License-Identifier: PostgreSQL */
/*
 * saver.c
 *		The background worker that saves counters, history, alerts and incidents to files.
 *
 * Writing a file can block for long, which must not delay samples, so the saver is a process of
 * its own. It is attached to no database. It saves every save_interval, and at once after a
 * reset. In between, the sampler wakes it to save changed incidents and complete segments of the
 * session history. The HTTP worker wakes it to read segments of that history into the cache of the
 * operating system. After the server has started, the saver also reads the whole file of the
 * session history, for 50 ms at a time between saves.
 *
 * The first of several successive failures is logged; connpool_info() shows the error until
 * everything is saved again.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "samples/session_history.h"
#include "samples/worker_status.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "workers/history_file.h"
#include "workers/saver.h"
#include "workers/stats_file.h"

/* Set *failed, and log the failure unless an earlier one was logged. */
static void
report_failed_save(const char *error, const char *what, bool failed_before, bool *failed)
{
	if (!failed_before && !*failed)
		ereport(WARNING,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("connpool_monitor: %s", error),
				 errdetail("%s not saved. The save is retried within %d ms; further failures are "
						   "not logged.", what, cpm_save_interval_ms),
				 errhint("A crash of the server loses everything recorded since the last save. "
						 "See last_save_error in connpool_info().")));
	*failed = true;
}

/*
 * Save changed incidents, complete segments of the session history and, if is_all, everything
 * else. Log the first of successive failures, and the first complete save after them. Then read
 * the next segments of the file of the session history, and return true if more remain to be read.
 */
static bool
save(MemoryContext context, bool is_all)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	bool		failed_before = cpm_worker_status(CPM_WORKER_SAVER).problem[0] != '\0';
	char		error[CPM_WORKER_PROBLEM_SIZE];
	bool		failed = false;
	bool		is_incomplete;

	if (is_all && !cpm_stats_file_save(error, sizeof(error)))
		report_failed_save(error, "Counters, history and alerts are", failed_before, &failed);
	/* after the statistics file, because saving that file clears the problem in connpool_info() */
	if (!cpm_incidents_file_save(error, sizeof(error)))
		report_failed_save(error, "Incidents are", failed_before, &failed);
	if (!cpm_history_file_save(is_all, error, sizeof(error)))
		report_failed_save(error, "The session history is", failed_before, &failed);
	if (!failed && is_all && failed_before)
		ereport(LOG,
				(errmsg("connpool_monitor: everything is saved again")));
	is_incomplete = cpm_history_file_check();
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(context);
	return is_incomplete;
}

static void
saver_exit(int code, Datum argument)
{
	(void) code;
	(void) argument;
	cpm_worker_ended(CPM_WORKER_SAVER);
}

static void
save_forever(uint32 wait_event)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor save",
												  ALLOCSET_DEFAULT_SIZES);
	int64		saved_us = cpm_monotonic_us();

	while (!ShutdownRequestPending)
	{
		int64		now_us = cpm_monotonic_us();
		int64		left_us = cpm_save_interval_ms * INT64CONST(1000) - (now_us - saved_us);
		bool		is_all = cpm_worker_was_requested(CPM_WORKER_SAVER) || left_us <= 0;

		if (is_all)
		{
			saved_us = now_us;
			left_us = cpm_save_interval_ms * INT64CONST(1000);
		}
		if (save(context, is_all))
			left_us = 0;
		cpm_session_history_read_wanted();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (left_us + 999) / 1000, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
cpm_saver_main(Datum argument)
{
	(void) argument;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, cpm_signal_ignored);	/* there is no statement to cancel */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	cpm_worker_started(CPM_WORKER_SAVER);
	before_shmem_exit(saver_exit, 0);
	save_forever(cpm_wait_event("ConnpoolMonitorSaver"));

	/* After exit code 0 the postmaster would not restart the worker. */
	proc_exit(1);
}
