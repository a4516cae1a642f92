/* SPDX-License-Identifier: PostgreSQL */
/*
 * http_register.c
 *		Registers the HTTP worker.
 *
 * The worker is in a library of its own (src/http), because it links libmicrohttpd. It starts with
 * the postmaster, so that it answers during recovery.
 *
 * After a crash the postmaster terminates all workers. This worker may run during recovery, but
 * the postmaster does not look for workers to start until recovery ends, unless it receives
 * PMSIGNAL_BACKGROUND_WORKER_CHANGE. So the startup process sends that signal when it logs the
 * start of redo, unless log_min_messages hides that message.
 */
#include "postgres.h"

#include <unistd.h>

#include "base/text_settings.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/pmsignal.h"
#include "workers/http_register.h"

#define LIBRARY "connpool_monitor_http"
#define RESTART_SECONDS 1
#define REDO_BEGINS "redo starts at"	/* the beginning of the untranslated message */

static emit_log_hook_type previous_log_hook;

/* Return true if the library is installed. It is built only where libmicrohttpd is found. */
static bool
is_installed(void)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "%s/%s%s", pkglib_path, LIBRARY, DLSUFFIX);
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

void
cpm_http_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = "connpool_monitor http",
		.bgw_type = "connpool_monitor http",
		.bgw_flags = BGWORKER_SHMEM_ACCESS,
		.bgw_start_time = BgWorkerStart_PostmasterStart,
		.bgw_restart_time = RESTART_SECONDS,
		.bgw_library_name = LIBRARY,
		.bgw_function_name = "cpm_http_main",
	};

	if (cpm_settings_http_listen()->host[0] == '\0')
		return;
	if (is_installed())
	{
		RegisterBackgroundWorker(&worker);
		previous_log_hook = emit_log_hook;
		emit_log_hook = cpm_wake_postmaster_at_redo;
	}
	/* With EXEC_BACKEND every process runs _PG_init(), so warn in the postmaster only. */
	else if (!IsUnderPostmaster)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("connpool_monitor: http_listen is set, "
						"but the library %s is not installed", LIBRARY),
				 errdetail("connpool_monitor was built without libmicrohttpd. "
						   "Everything else works."),
				 errhint("Install libmicrohttpd with its headers, "
						 "and build and install connpool_monitor again.")));
}
