/* SPDX-License-Identifier: PostgreSQL */
/*
 * connpool_monitor.c
 *		Initializes the library: settings, shared memory, hooks and workers.
 *
 * If loaded by shared_preload_libraries, the library does all of this in the postmaster. If LOAD
 * or a function call loads it into a single session, it only defines its settings. Then only the
 * functions that read nothing but PostgreSQL's own shared memory and catalogs return data.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/server_settings.h"
#include "base/set_back.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/version.h"
#include "counters/backend_counters.h"
#include "counters/counter_transfer.h"
#include "counters/minute_counters.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_busy.h"
#include "counters/pool_counters.h"
#include "counters/pool_load.h"
#include "counters/pool_owners.h"
#include "counters/pool_policies.h"
#include "counters/pool_retained.h"
#include "counters/pool_table.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/deadlocks.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "events/lock_log.h"
#include "events/rejections.h"
#include "events/slow_statements.h"
#include "export/worker_api.h"
#include "fmgr.h"
#include "hooks/executor.h"
#include "hooks/log_messages.h"
#include "hooks/session.h"
#include "hooks/session_features.h"
#include "hooks/transaction.h"
#include "live/backends.h"
#include "live/client_waits.h"
#include "live/prepared_xacts.h"
#include "miscadmin.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "samples/incidents.h"
#include "samples/notify_queue.h"
#include "samples/pooler_state.h"
#include "samples/rollups.h"
#include "samples/sample_ring.h"
#include "samples/session_history.h"
#include "samples/worker_status.h"
#include "workers/history_file.h"
#include "workers/register.h"
#include "workers/stats_file.h"

CPM_MODULE_MAGIC("connpool_monitor", CPM_VERSION);

PGDLLEXPORT void _PG_init(void);

/*
 * For each area: its name, the functions that return its size and attach to it, the name of its
 * LWLock tranche or NULL, and the function that returns the size of its hash table or NULL.
 */
static const CpmShmemArea areas[] = {
	{"connpool_monitor settings",
	cpm_server_settings_size, cpm_server_settings_attach, NULL, NULL},
	{"connpool_monitor workers", cpm_worker_status_size, cpm_worker_status_attach, NULL, NULL},
	{"connpool_monitor history", cpm_sample_ring_size, cpm_sample_ring_attach, NULL, NULL},
	{"connpool_monitor rollups", cpm_rollups_size, cpm_rollups_attach, NULL, NULL},
	{"connpool_monitor alerts", cpm_alert_state_size, cpm_alert_state_attach, NULL, NULL},
	{"connpool_monitor errors", cpm_errors_size, cpm_errors_attach, NULL, NULL},
	{"connpool_monitor deadlocks", cpm_deadlocks_size, cpm_deadlocks_attach, NULL, NULL},
	{"connpool_monitor rejections", cpm_rejections_size, cpm_rejections_attach, NULL, NULL},
	{"connpool_monitor minute counters",
	cpm_minute_counters_size, cpm_minute_counters_attach, NULL, NULL},
	{"connpool_monitor counter transfers", cpm_transfers_size, cpm_transfers_attach, NULL, NULL},
	{"connpool_monitor pool owners",
	cpm_pool_owners_size, cpm_pool_owners_attach, NULL, cpm_pool_owners_hash_size},
	{"connpool_monitor pool policies",
	cpm_pool_policies_size, cpm_pool_policies_attach, NULL, cpm_pool_policies_hash_size},
	{"connpool_monitor pool counters",
	cpm_pool_counters_size, cpm_pool_counters_attach, NULL, NULL},
	{"connpool_monitor pools",
	cpm_pools_size, cpm_pools_attach, CPM_POOLS_LOCK, cpm_pool_names_size},
	{"connpool_monitor busy times", cpm_pool_busy_size, cpm_pool_busy_attach, NULL, NULL},
	{"connpool_monitor load", cpm_pool_load_size, cpm_pool_load_attach, NULL, NULL},
	{"connpool_monitor leaks", cpm_leak_log_size, cpm_leak_log_attach, NULL, NULL},
	{"connpool_monitor lock waits", cpm_lock_log_size, cpm_lock_log_attach, NULL, NULL},
	{"connpool_monitor retained", cpm_retained_size, cpm_retained_attach, NULL, NULL},
	{"connpool_monitor monotonic counters", cpm_monotonic_size, cpm_monotonic_attach, NULL, NULL},
	{"connpool_monitor prepared", cpm_prepared_xacts_size, cpm_prepared_xacts_attach, NULL, NULL},
	{"connpool_monitor backend activity", cpm_backends_size, cpm_backends_attach, NULL, NULL},
	{"connpool_monitor clock steps", cpm_set_back_size, cpm_set_back_attach, NULL, NULL},
	{"connpool_monitor client waits", cpm_client_waits_size, cpm_client_waits_attach, NULL, NULL},
	{"connpool_monitor slots", cpm_slots_size, cpm_slots_attach, NULL, NULL},
	{"connpool_monitor statistics windows",
	cpm_stat_windows_size, cpm_stat_windows_attach, NULL, NULL},
	{"connpool_monitor slow statements",
	cpm_slow_statements_size, cpm_slow_statements_attach, NULL, NULL},
	{"connpool_monitor sessions",
	cpm_session_counters_size, cpm_session_counters_attach, NULL, NULL},
	{"connpool_monitor poolers", cpm_poolers_size, cpm_poolers_attach, NULL, NULL},
	{"connpool_monitor incidents", cpm_incidents_size, cpm_incidents_attach, NULL, NULL},
	{"connpool_monitor session history",
	cpm_session_history_size, cpm_session_history_attach, NULL, NULL},
	{"connpool_monitor notifications",
	cpm_notifications_size, cpm_notifications_attach, NULL, NULL},
};

void
_PG_init(void)
{
	cpm_settings_define(cpm_catalogue);

	if (!process_shared_preload_libraries_in_progress)
		return;

	/* The files are loaded into the areas, so register the areas first. */
	cpm_shmem_register(areas, lengthof(areas));
	cpm_stats_file_install();
	cpm_history_file_install();
	cpm_session_install();
	cpm_transaction_install();
	cpm_executor_install();
	cpm_features_install();
	cpm_log_messages_install();
	/* pg_upgrade needs no workers. */
	if (IsBinaryUpgrade)
		return;
	cpm_worker_api_publish();
	cpm_workers_register();
}
