/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker.c
 *		The background worker that polls PgBouncer's consoles.
 *
 * Each console has a child process in which libpq runs (src/console). The worker waits for all
 * children at once, so that a console that hangs or keeps libpq busy delays no other. When the
 * worker ends, its children end too.
 *
 * The worker is not connected to a database. It publishes results through the function table of
 * the preloaded library (export/worker_api.h). After an error it exits, and the postmaster
 * restarts it.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/version.h"
#include "export/worker_api.h"
#include "miscadmin.h"
#include "pgbouncer/console.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

CPM_MODULE_MAGIC("connpool_monitor_pgbouncer", CPM_VERSION);

PGDLLEXPORT void cpm_pgbouncer_main(Datum argument);

static CpmConsole consoles[CPM_MAX_POOLERS];
static int	console_count;

/*
 * Wait until a child has sent data, a console is due or the latch is set, and process the data.
 * Each wait creates a new WaitEventSet, because the sockets change.
 */
static void
wait_for_consoles(uint32 wait_event)
{
	WaitEventSet *set = cpm_create_wait_set(console_count + 2);
	WaitEvent	events[CPM_MAX_POOLERS + 2];
	int64		next_us = PG_INT64_MAX;
	int64		left_us;
	int			count;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < console_count; i++)
	{
		CpmConsole *console = &consoles[i];

		next_us = Min(next_us, cpm_console_next_us(console));
		if (console->child.pid != 0)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, console->child.socket, NULL, console);
	}
	left_us = Max(next_us - cpm_monotonic_us(), 0);
	count = WaitEventSetWait(set, (long) Min((left_us + 999) / 1000, PG_INT32_MAX), events,
							 lengthof(events), wait_event);
	FreeWaitEventSet(set);
	for (int i = 0; i < count; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else if (events[i].user_data != NULL)
			cpm_console_ready(events[i].user_data, cpm_monotonic_us());
	}
}

static void
poll_until_shutdown(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor PgBouncer",
												  ALLOCSET_DEFAULT_SIZES);
	uint32		wait_event = cpm_wait_event("ConnpoolMonitorPgbouncer");

	MemoryContextSwitchTo(context);
	while (!ShutdownRequestPending)
	{
		for (int i = 0; i < console_count; i++)
			cpm_console_tick(&consoles[i], cpm_monotonic_us());
		wait_for_consoles(wait_event);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(context);
	}
}

static void
pgbouncer_worker_exit(int code, Datum argument)
{
	const CpmWorkerApi *api = (const CpmWorkerApi *) DatumGetPointer(argument);

	(void) code;
	for (int i = 0; i < console_count; i++)
		cpm_console_end(&consoles[i]);
	api->worker_ended(CPM_WORKER_PGBOUNCER);
}

void
cpm_pgbouncer_main(Datum argument)
{
	const CpmWorkerApi *api;

	(void) argument;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, cpm_signal_ignored);	/* no statement to cancel */
	pqsignal(SIGPIPE, cpm_signal_ignored);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	/* children inherit the environment, and must take passwords from the password file only */
	unsetenv("PGPASSWORD");
	api = cpm_worker_api_find("connpool_monitor_pgbouncer");
	console_count = api->poolers()->count;
	for (int i = 0; i < console_count; i++)
		cpm_console_init(&consoles[i], api, i);
	api->worker_started(CPM_WORKER_PGBOUNCER);
	before_shmem_exit(pgbouncer_worker_exit, PointerGetDatum(api));
	poll_until_shutdown();

	/* with exit code 0 the postmaster would not restart the worker */
	proc_exit(1);
}
