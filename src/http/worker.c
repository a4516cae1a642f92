/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker.c
 *		The background worker that answers over HTTP.
 *
 * A library of its own, for it links libmicrohttpd, which a backend must not. It
 * starts with the postmaster, needs no connection slot and no database, and waits
 * for nothing: whatever it says it reads from shared memory, by the entry table of
 * the library that is preloaded (export/worker_api.h).
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/version.h"
#include "export/worker_api.h"
#include "http/listener.h"
#include "http/server.h"
#include "http/token.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

CPM_MODULE_MAGIC("connpool_monitor_http", CPM_VERSION);

PGDLLEXPORT void cpm_http_main(Datum argument);

#define RETRY_MS (5 * 1000)
#define PROBLEM_SIZE 256

static const CpmWorkerApi *entry;
static char last_problem[PROBLEM_SIZE]; /* that was told to the log; empty while it listens */

/* Tell the log why nobody is served, once for each reason. */
static void
complain(const char *problem)
{
	const CpmListen *listen = entry->http_listen();

	entry->worker_has_problem(CPM_WORKER_HTTP, problem);
	if (strcmp(problem, last_problem) == 0)
		return;
	strlcpy(last_problem, problem, sizeof(last_problem));
	ereport(WARNING,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("connpool_monitor: no HTTP at %s, port %d: %s", listen->host, listen->port, problem),
			 errdetail("The server is not affected. It is tried again.")));
}

/* Others than this machine are served only when they have to bear a token. */
static bool
may_listen(void)
{
	return entry->http_listen()->is_loopback || (cpm_token_is_demanded() && cpm_token_is_known());
}

static void
begin_to_listen(void)
{
	const CpmListen *listen = entry->http_listen();
	const char *problem = NULL;
	pgsocket	listener;

	if (!may_listen())
	{
		complain("an address that other machines reach needs a token: set connpool_monitor.http_token_file to a file that holds one");
		return;
	}
	listener = cpm_listener_open(listen, &problem);
	if (listener == PGINVALID_SOCKET)
		complain(problem);
	else if (!cpm_server_start(entry, listener))
		complain("libmicrohttpd could not begin");
	else
	{
		last_problem[0] = '\0';
		entry->worker_has_problem(CPM_WORKER_HTTP, "");
		ereport(LOG, (errmsg("connpool_monitor: HTTP at %s, port %d", listen->host, listen->port)));
	}
}

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	cpm_token_reread(entry->http_token_file());
	if (cpm_server_socket() != PGINVALID_SOCKET && !may_listen())
		cpm_server_stop();
}

/* Returns when the server has come or gone, or the process is to end: sockets to wait for have changed. */
static void
serve(uint32 wait_event)
{
	pgsocket	socket = cpm_server_socket();
	WaitEventSet *set = cpm_create_wait_set(3);
	WaitEvent	event;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (socket != PGINVALID_SOCKET)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, socket, NULL, NULL);
	while (!ShutdownRequestPending)
	{
		long		timeout_ms = socket != PGINVALID_SOCKET ? cpm_server_timeout_ms() : RETRY_MS;

		if (WaitEventSetWait(set, timeout_ms, &event, 1, wait_event) > 0 && (event.events & WL_LATCH_SET))
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload();
		cpm_server_run();
		if (cpm_server_socket() == PGINVALID_SOCKET || socket == PGINVALID_SOCKET)
			break;
	}
	FreeWaitEventSet(set);
}

static void
http_worker_exit(int code, Datum argument)
{
	(void) code;
	(void) argument;
	entry->worker_ended(CPM_WORKER_HTTP);
}

void
cpm_http_main(Datum argument)
{
	MemoryContext context;
	uint32		wait_event;

	(void) argument;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, cpm_signal_ignored);	/* there is no statement to cancel */
	pqsignal(SIGPIPE, cpm_signal_ignored);
	BackgroundWorkerUnblockSignals();

	context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor HTTP", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	entry = cpm_worker_api_find("connpool_monitor_http");
	entry->worker_started(CPM_WORKER_HTTP);
	before_shmem_exit(http_worker_exit, (Datum) 0);
	wait_event = cpm_wait_event("ConnpoolMonitorHttp");
	cpm_token_reread(entry->http_token_file());
	while (!ShutdownRequestPending)
	{
		begin_to_listen();
		serve(wait_event);
		MemoryContextReset(context);
	}
	cpm_server_stop();

	/* as in the sampler */
	proc_exit(1);
}
