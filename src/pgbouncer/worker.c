/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker.c
 *		The background worker that asks PgBouncer's consoles.
 *
 * Attached to no database. All consoles are waited for at once, and libpq runs in a process for
 * each console (src/console): one that hangs, or keeps libpq busy, costs itself only. The
 * processes end with the worker.
 * Whatever it learns it writes by the entry table of the library that is preloaded
 * (export/worker_api.h). An error ends the process, and the postmaster starts another.
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

static CpmConsole consoles[CPM_MOST_POOLERS];
static int	console_count;

/* Wait until a process has replied, a console is due or somebody calls; in a set of its own, as sockets change. */
static void
wait_for_something(uint32 wait_event)
{
	WaitEventSet *set = cpm_create_wait_set(console_count + 2);
	WaitEvent	events[CPM_MOST_POOLERS + 2];
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
ask_forever(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor PgBouncer",
												  ALLOCSET_DEFAULT_SIZES);
	uint32		wait_event = cpm_wait_event("ConnpoolMonitorPgbouncer");

	MemoryContextSwitchTo(context);
	while (!ShutdownRequestPending)
	{
		for (int i = 0; i < console_count; i++)
			cpm_console_tick(&consoles[i], cpm_monotonic_us());
		wait_for_something(wait_event);
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
	const CpmWorkerApi *entry = (const CpmWorkerApi *) DatumGetPointer(argument);

	(void) code;
	for (int i = 0; i < console_count; i++)
		cpm_console_end(&consoles[i]);
	entry->worker_ended(CPM_WORKER_PGBOUNCER);
}

void
cpm_pgbouncer_main(Datum argument)
{
	const CpmWorkerApi *entry;

	(void) argument;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, cpm_signal_ignored);	/* there is no statement to cancel */
	pqsignal(SIGPIPE, cpm_signal_ignored);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	/* for the processes: whoever started the server may have had one for another purpose */
	unsetenv("PGPASSWORD");
	entry = cpm_worker_api_find("connpool_monitor_pgbouncer");
	console_count = entry->poolers()->count;
	for (int i = 0; i < console_count; i++)
		cpm_console_init(&consoles[i], entry, i);
	entry->worker_started(CPM_WORKER_PGBOUNCER);
	before_shmem_exit(pgbouncer_worker_exit, PointerGetDatum(entry));
	ask_forever();

	/* 0 would mean: never start me again */
	proc_exit(1);
}
