/* SPDX-License-Identifier: PostgreSQL */
/*
 * register.c
 *		Registers the background workers.
 *
 * The PgBouncer worker (src/pgbouncer) and the HTTP worker (src/http), which links libmicrohttpd,
 * are in libraries of their own. The HTTP worker starts with the postmaster, so that it answers
 * during recovery.
 *
 * After a crash the postmaster terminates all workers. The HTTP worker may run during recovery,
 * but the postmaster does not look for workers to start until recovery ends, unless it receives
 * PMSIGNAL_BACKGROUND_WORKER_CHANGE. So the startup process sends that signal when it logs the
 * start of redo, unless log_min_messages hides that message.
 */
#include "postgres.h"

#include <unistd.h>

#include "base/text_settings.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/pmsignal.h"
#include "workers/register.h"

#define HTTP_LIBRARY "connpool_monitor_http"
#define REDO_BEGINS "redo starts at"	/* the beginning of the untranslated message */

static emit_log_hook_type previous_log_hook;

BackgroundWorker
cpm_worker_of_name(const char *name, const char *library, BgWorkerStartTime start,
				   int restart_seconds)
{
	BackgroundWorker worker = {.bgw_start_time = start, .bgw_restart_time = restart_seconds};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	/* PostgreSQL refuses this to a worker that starts with the postmaster */
	if (start != BgWorkerStart_PostmasterStart)
		worker.bgw_flags |= BGWORKER_BACKEND_DATABASE_CONNECTION;
	snprintf(worker.bgw_name, BGW_MAXLEN, "connpool_monitor %s", name);
	strlcpy(worker.bgw_type, worker.bgw_name, BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, library, sizeof(worker.bgw_library_name));
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "cpm_%s_main", name);
	return worker;
}

static void
register_worker(const char *name, const char *library, BgWorkerStartTime start,
				int restart_seconds)
{
	BackgroundWorker worker = cpm_worker_of_name(name, library, start, restart_seconds);

	RegisterBackgroundWorker(&worker);
}

/* Return true if the library is installed. It is built only where libmicrohttpd is found. */
static bool
is_installed(void)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "%s/%s%s", pkglib_path, HTTP_LIBRARY, DLSUFFIX);
	return access(path, R_OK) == 0;
}

/* emit_log_hook, called in every process for each message of the server log. */
static void
cpm_wake_postmaster_at_redo(ErrorData *message)
{
	if (previous_log_hook)
		previous_log_hook(message);
	if (MyBackendType == B_STARTUP && message->message_id != NULL &&
		strncmp(message->message_id, REDO_BEGINS, strlen(REDO_BEGINS)) == 0)
		SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
}

static void
register_http(void)
{
	if (is_installed())
	{
		register_worker("http", HTTP_LIBRARY, BgWorkerStart_PostmasterStart, 1);
		previous_log_hook = emit_log_hook;
		emit_log_hook = cpm_wake_postmaster_at_redo;
	}
	/* With EXEC_BACKEND every process runs _PG_init(), so warn in the postmaster only. */
	else if (!IsUnderPostmaster)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("connpool_monitor: http_listen is set, "
						"but the library %s is not installed", HTTP_LIBRARY),
				 errdetail("connpool_monitor was built without libmicrohttpd. "
						   "Everything else works."),
				 errhint("Install libmicrohttpd with its headers, "
						 "and build and install connpool_monitor again.")));
}

void
cpm_workers_register(void)
{
	register_worker("sampler", "connpool_monitor", BgWorkerStart_ConsistentState, 1);
	register_worker("saver", "connpool_monitor", BgWorkerStart_ConsistentState, 5);
	if (cpm_settings_poolers()->count > 0)
		register_worker("pgbouncer", "connpool_monitor_pgbouncer",
						BgWorkerStart_ConsistentState, 5);
	if (cpm_settings_http_listen()->host[0] != '\0')
		register_http();
}
