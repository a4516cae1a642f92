/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker.c
 *		The background worker that serves HTTP.
 *
 * The worker must answer even if no connection slot is free. So it starts with the postmaster,
 * uses no slot and no database, and reads shared memory through the functions that the preloaded
 * library publishes (export/worker_api.h). It is in a separate library, because it links
 * libmicrohttpd, which a backend must not load.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

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
#define KEPT_MEMORY (4 * 1024 * 1024)	/* bytes; more than a scrape needs with 1,000 pools */

static const CpmWorkerApi *api;
static char last_problem[PROBLEM_SIZE]; /* why the server does not run; empty while it runs */

/* Publish the problem that keeps the HTTP server from running, and that of the token's file. */
static void
publish_problems(void)
{
	const char *of_file = cpm_token_file_problem();
	char		problems[2 * PROBLEM_SIZE];
	int			length = 0;

	problems[0] = '\0';
	if (last_problem[0] != '\0')
		length = snprintf(problems, sizeof(problems), "the HTTP server is not listening: %s%s",
						  last_problem, of_file[0] != '\0' ? "; " : "");
	if (of_file[0] != '\0')
		snprintf(problems + length, sizeof(problems) - length,
				 "the file of http_token_file cannot be used: %s", of_file);
	api->worker_report_problem(CPM_WORKER_HTTP, problems);
}

/*
 * Publish the reason why the HTTP server does not run; log it unless it was the last one logged.
 */
static void
report_problem(const char *problem)
{
	const CpmListen *listen = api->http_listen();

	/* compare no more than strlcpy() stores, or a longer problem would be logged each time */
	bool		is_logged = strncmp(problem, last_problem, sizeof(last_problem) - 1) == 0;

	strlcpy(last_problem, problem, sizeof(last_problem));
	publish_problems();
	if (is_logged)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("connpool_monitor: HTTP server is not listening at %s, port %d: %s",
					listen->host, listen->port, problem),
			 errdetail("The database server is not affected. "
					   "The worker tries again every few seconds.")));
}

/*
 * Return true if the server may listen: its address is a loopback address, or requests need a
 * token and one has been read.
 */
static bool
may_listen(void)
{
	return api->http_listen()->is_loopback ||
		(cpm_token_is_required() && cpm_token_is_loaded());
}

static void
start_listening(void)
{
	const CpmListen *listen = api->http_listen();
	const char *problem = NULL;
	pgsocket	listener;

	if (!may_listen())
	{
		report_problem("an address that other machines reach needs a token: "
					   "set connpool_monitor.http_token_file to a file that holds one");
		return;
	}
	listener = cpm_listener_open(listen, &problem);
	if (listener == PGINVALID_SOCKET)
		report_problem(problem);
	else if (!cpm_server_start(api, listener))
		report_problem("could not start libmicrohttpd");
	else
	{
		last_problem[0] = '\0';
		publish_problems();
		ereport(LOG,
				(errmsg("connpool_monitor: HTTP server is listening at %s, port %d",
						listen->host, listen->port)));
	}
}

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	cpm_token_reread(api->http_token_file());
	publish_problems();
	if (cpm_server_socket() != PGINVALID_SOCKET && !may_listen())
		cpm_server_stop();
}

/*
 * Serve HTTP until a reload stops the HTTP server or shutdown is requested. If the HTTP server
 * does not run, return after RETRY_MS or when the latch is set, so that the caller tries again to
 * start it. Each call builds a new WaitEventSet, because PostgreSQL cannot remove a socket from
 * an existing one.
 */
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

		if (WaitEventSetWait(set, timeout_ms, &event, 1, wait_event) > 0 &&
			(event.events & WL_LATCH_SET))
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
	api->worker_ended(CPM_WORKER_HTTP);
}

/*
 * Keep freed memory for the next request. By default, malloc() returns the large blocks of a
 * request to the kernel, and page faults then take a fifth of the next scrape's time.
 */
static void
keep_freed_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY);
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
#endif
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

	keep_freed_memory();
	context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor HTTP",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	api = cpm_worker_api_find("connpool_monitor_http");
	api->worker_started(CPM_WORKER_HTTP);
	before_shmem_exit(http_worker_exit, (Datum) 0);
	wait_event = cpm_wait_event("ConnpoolMonitorHttp");
	cpm_token_reread(api->http_token_file());
	while (!ShutdownRequestPending)
	{
		start_listening();
		serve(wait_event);
		MemoryContextReset(context);
	}
	cpm_server_stop();

	/* after an exit status of 0 the postmaster would never start the worker again */
	proc_exit(1);
}
