/* SPDX-License-Identifier: PostgreSQL */
/*
 * http_register.c
 *		Registers the worker that answers over HTTP.
 *
 * The worker is a library of its own (src/http), which links libmicrohttpd. It starts
 * with the postmaster, so that it answers while the server recovers.
 *
 * After a crash PostgreSQL ends all workers and does not look for some to start until
 * recovery is over, although those of the postmaster's start may be there before. It
 * looks when somebody tells it that workers have changed: the process that recovers
 * does, when it begins to.
 */
#include "postgres.h"

#include <unistd.h>

#include "base/settings.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/pmsignal.h"
#include "workers/http_register.h"

#define LIBRARY "connpool_monitor_http"
#define RESTART_SECONDS 1
#define REDO_BEGINS "redo starts at"	/* how that message begins, before it is translated */

static emit_log_hook_type previous_log_hook;

/* It is built only where libmicrohttpd is. */
static bool
is_installed(void)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "%s/%s%s", pkglib_path, LIBRARY, DLSUFFIX);
	return access(path, R_OK) == 0;
}

/* In every process, for each message of the server log. */
static void
cpm_note_load_failure(ErrorData *message)
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
		emit_log_hook = cpm_note_load_failure;
	}
	/* with EXEC_BACKEND each process comes here, not only the postmaster */
	else if (!IsUnderPostmaster)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("connpool_monitor: http_listen is set, but the library %s is not installed", LIBRARY),
				 errdetail("connpool_monitor was built without libmicrohttpd. Everything else works."),
				 errhint("Install libmicrohttpd with its headers, and build and install connpool_monitor again.")));
}
