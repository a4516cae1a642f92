/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_register.c
 *		Registers the worker that queries PgBouncer consoles.
 *
 * The worker is in a library of its own (src/pgbouncer).
 */
#include "postgres.h"

#include "base/text_settings.h"
#include "postmaster/bgworker.h"
#include "workers/pgbouncer_register.h"

#define RESTART_SECONDS 5

void
cpm_pgbouncer_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = "connpool_monitor pgbouncer",
		.bgw_type = "connpool_monitor pgbouncer",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = RESTART_SECONDS,
		.bgw_library_name = "connpool_monitor_pgbouncer",
		.bgw_function_name = "cpm_pgbouncer_main",
	};

	if (cpm_settings_poolers()->count == 0)
		return;
	RegisterBackgroundWorker(&worker);
}
