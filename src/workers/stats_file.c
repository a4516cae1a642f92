/* SPDX-License-Identifier: PostgreSQL */
/*
 * stats_file.c
 *		The files that preserve counters, history, alerts and incidents across restarts.
 *
 * The postmaster loads the files whenever it creates shared memory, also after a crash, before it
 * starts any other process. While the server runs, the saver saves them (workers/saver). At
 * shutdown the postmaster saves them after the last session has added its counters.
 *
 * Incidents have a file of their own, because they are saved every few seconds during an incident.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/file_header.h"
#include "base/ring.h"
#include "base/stream.h"
#include "counters/counter_transfer.h"
#include "counters/minute_counters.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_file.h"
#include "counters/pool_load.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/deadlocks.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "events/lock_log.h"
#include "events/rejections.h"
#include "events/slow_statements.h"
#include "live/prepared_xacts.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "samples/incidents.h"
#include "samples/rollups.h"
#include "samples/sample_ring.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"
#include "workers/incident_recorder.h"
#include "workers/saved_file.h"
#include "workers/stats_file.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/connpool_monitor.stat"

/*
 * A marker file, whose existence means that the statistics file contains everything that was
 * counted. It is created at a clean shutdown and removed at startup. So it is missing after a
 * crash, which loses the counts since the last save, and at the first start.
 */
#define COMPLETE_NAME FILE_NAME ".complete"

static shmem_startup_hook_type previous_startup_hook;

static const CpmFilePart *const stats_parts[] = {
	&cpm_samples_part,
	&cpm_rollups_part,
	&cpm_alerts_part,
	&cpm_alert_log_part,
	&cpm_errors_part,
	&cpm_rejection_counts_part,
	&cpm_rejection_log_part,
	&cpm_slow_statements_part,
	&cpm_session_counters_part,
	&cpm_stat_windows_part,
	&cpm_prepared_times_part,
	&cpm_leak_counts_part,
	&cpm_prepared_leaks_part,
	&cpm_leak_log_part,
	&cpm_lock_wait_counts_part,
	&cpm_lock_log_part,
	&cpm_deadlock_counts_part,
	&cpm_deadlocks_part,
	&cpm_load_clock_part,
	&cpm_pool_totals_part,
	&cpm_retained_databases_part,
	&cpm_pools_part,
	&cpm_incident_id_part,
};

static const CpmSavedFile stats_file = {
	.name = FILE_NAME,
	.contents = "Counters, history and alerts",
	.part = stats_parts,
	.parts = lengthof(stats_parts),
};

static const CpmFilePart *const incident_parts[] = {
	&cpm_incident_id_part,
	&cpm_incidents_part,
	&cpm_incident_changes_part,
	&cpm_snapshots_part,
	&cpm_snapshot_rows_part,
};

static const CpmSavedFile incidents_file = {
	.name = PGSTAT_STAT_PERMANENT_DIRECTORY "/connpool_monitor.incidents",
	.contents = "Incidents",
	.part = incident_parts,
	.parts = lengthof(incident_parts),
};

void
cpm_stats_file_correct_logs(TimestampTz now, int64 setback_us)
{
	for (int i = 0; i < (int) lengthof(stats_parts); i++)
	{
		const CpmFilePart *part = stats_parts[i];

		for (int j = 0; part->ring != NULL && j < Max(part->rings, 1); j++)
			cpm_ring_correct_times(part->ring[j], part->time, now, setback_us);
	}
}

bool
cpm_stats_file_save(char *error, size_t size)
{
	TimestampTz now = GetCurrentTimestamp();

	if (cpm_saved_file_write(&stats_file, error, size))
	{
		cpm_worker_completed_round(CPM_WORKER_SAVER, now, 0, 0);
		return true;
	}
	cpm_worker_report_problem(CPM_WORKER_SAVER, error);
	return false;
}

bool
cpm_incidents_file_save(char *error, size_t size)
{
	bool		is_saved;

	if (!cpm_incidents_save_begin())
		return true;
	is_saved = cpm_saved_file_write(&incidents_file, error, size);
	cpm_incidents_save_end(is_saved);
	if (!is_saved)
		cpm_worker_report_problem(CPM_WORKER_SAVER, error);
	return is_saved;
}

/*
 * Create the marker file, unless a backend died in the middle of a transfer, or the monotonic
 * counters were restarted after a crash. The statistics file does not have the baseline of
 * restarted counters, so the next start must restart them again. It does so if there is no marker
 * file.
 */
static void
mark_complete(void)
{
	uint64		transfers;
	bool		is_complete = !cpm_monotonic_was_restarted() && cpm_transfers_are_done(&transfers);
	FILE	   *file = is_complete ? AllocateFile(COMPLETE_NAME, PG_BINARY_W) : NULL;

	if (file != NULL)
		FreeFile(file);
}

static void
warn_at_shutdown(const char *error, const CpmSavedFile *file)
{
	ereport(WARNING,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("connpool_monitor: %s", error),
			 errdetail("%s since the last save are lost.", file->contents)));
}

/*
 * Exit callback of the postmaster, which runs when no other process is left. Saves the files after
 * a clean shutdown, that is, with exit code 0.
 */
static void
save_at_shutdown(int code, Datum argument)
{
	char		error[CPM_WORKER_PROBLEM_SIZE];

	(void) argument;
	if (code != 0)
		return;
	if (cpm_stats_file_save(error, sizeof(error)))
		mark_complete();
	else
		warn_at_shutdown(error, &stats_file);
	if (!cpm_incidents_file_save(error, sizeof(error)))
		warn_at_shutdown(error, &incidents_file);
}

/* shmem_startup_hook. With EXEC_BACKEND it runs in every process; only the postmaster loads. */
static void
cpm_stats_file_startup(void)
{
	CpmLoadedFile loaded;
	CpmCounters counters;
	bool		has_crashed;

	if (previous_startup_hook)
		previous_startup_hook();
	if (IsUnderPostmaster || IsBinaryUpgrade)
		return;
	if (cpm_saved_file_load(&stats_file, &loaded))
	{
		if (!loaded.only_history)
			cpm_stat_windows_resume();
		cpm_worker_completed_round(CPM_WORKER_SAVER, cpm_loaded_time(loaded.saved_at), 0, 0);
	}
	/* Without the marker file, a crash has lost counters, or this is the first start. */
	has_crashed = unlink(COMPLETE_NAME) != 0;
	if (has_crashed)
		cpm_monotonic_restart();
	counters = cpm_sample_counters_now();
	cpm_minute_counters_init(&counters);
	(void) cpm_saved_file_load(&incidents_file, &loaded);
	cpm_incidents_start(has_crashed);
	on_shmem_exit(save_at_shutdown, (Datum) 0);
}

void
cpm_stats_file_install(void)
{
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = cpm_stats_file_startup;
}
