/* SPDX-License-Identifier: PostgreSQL */
/*
 * sampler.c
 *		The background worker that samples, keeps history and raises alerts.
 *
 * Each round takes a sample, appends it to the history and advances the alerts. It waits for other
 * processes only briefly, for LWLocks. The monotonic clock times the rounds, so setting the system
 * clock does not stop them.
 *
 * Apart from resets, the sampler is the only writer of samples/sample_ring, samples/rollups, the
 * segments in samples/session_history, samples/alert_state, samples/incidents,
 * counters/minute_counters, counters/stat_windows, counters/pool_busy, counters/pool_load,
 * events/leak_log, events/lock_log, live/client_waits, live/prepared_xacts, base/set_back,
 * base/server_settings and its entry of samples/worker_status. After an error the postmaster
 * restarts the sampler, which continues with the contents of shared memory.
 *
 * It is attached to no database, so it does not block DROP DATABASE. It also runs on a standby.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/server_settings.h"
#include "base/set_back.h"
#include "base/settings.h"
#include "base/wait_class.h"
#include "counters/minute_counters.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/rejections.h"
#include "live/backends.h"
#include "live/prepared_xacts.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "samples/incidents.h"
#include "samples/rollups.h"
#include "samples/sample_ring.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "workers/alerting.h"
#include "workers/incident_recorder.h"
#include "workers/notify_launcher.h"
#include "workers/pool_rates.h"
#include "workers/sampler.h"
#include "workers/session_scan.h"
#include "workers/stats_file.h"

/* Append the sample to the history and to its rollups by minute and hour. */
static void
keep_history(const CpmSample *sample, uint32 peak_connections)
{
	CpmSampleRow row = {
		.at = sample->taken_at,
		.interval_ms = cpm_sample_interval_ms,
		.peak_connections = (float4) peak_connections,
	};

	for (int i = 0; i < CPM_METRICS; i++)
		row.value[i] = (float4) sample->value[i];
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		row.busy[i] = (float4) sample->busy[i];
	cpm_sample_ring_append(&row);
	cpm_rollups_add(&row, cpm_catalogue);
}

/* Correct the times in logs that are in the future after the clock was set back. */
static void
correct_recorded_times(const CpmClockStep *step)
{
	cpm_stats_file_correct_logs(step->now, step->setback_us);
	cpm_alert_board_correct_times(step->now, step->setback_us);
	cpm_incidents_correct_times(step->now, step->setback_us);
}

/*
 * Do one round. started_us and previous_us are the times by the monotonic clock at which this
 * round and the previous one began; previous_us is 0 in the first round. missed is the number of
 * rounds that were due but skipped since the previous one.
 */
static void
take_round(MemoryContext context, int64 started_us, int64 previous_us, uint64 missed)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	CpmSample	sample;
	CpmCounters counters;
	CpmRoundCounts counts = {.refused = cpm_slot_rejections()};
	CpmClockStep step = cpm_backends_check_clock();

	if (step.setback_us > 0)
		correct_recorded_times(&step);
	cpm_scan_and_sample(&sample, cpm_sample_interval_ms, started_us);
	counters = cpm_sample_counters_now();
	cpm_minute_counters_snapshot(&counters);
	cpm_stat_windows_snapshot();
	counts.peak_connections = cpm_sessions_take_peak();
	counts.failed = counters.queries.of[CPM_FAILED_QUERIES];
	keep_history(&sample, counts.peak_connections);
	cpm_pool_rates_sample(started_us);
	cpm_alerting_round(&sample, previous_us ? started_us - previous_us : 0, started_us);
	cpm_incidents_round(&sample, &counts, started_us);
	cpm_notify_launcher_round(started_us);
	cpm_worker_completed_round(CPM_WORKER_SAMPLER, sample.taken_at,
							   (cpm_monotonic_us() - started_us) / 1000.0, missed);

	MemoryContextSwitchTo(old_context);
	MemoryContextReset(context);
}

static void
sleep_until(int64 due_us, uint32 wait_event)
{
	int64		left_us = due_us - cpm_monotonic_us();

	/* Round up, because waking before the round is due would only repeat the loop. */
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 left_us > 0 ? (left_us + 999) / 1000 : 0, wait_event);
	ResetLatch(MyLatch);
}

static void
sampler_exit(int code, Datum argument)
{
	(void) code;
	(void) argument;
	cpm_notify_launcher_end();
	cpm_worker_ended(CPM_WORKER_SAMPLER);
}

/*
 * Sample until shutdown is requested. A round is due one interval after the previous one was due.
 * Missed rounds are counted, but not repeated.
 */
static void
sample_forever(uint32 wait_event)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor sample",
												  ALLOCSET_DEFAULT_SIZES);
	int64		due_us = cpm_monotonic_us();
	int64		previous_us = 0;

	while (!ShutdownRequestPending)
	{
		int64		interval_us = cpm_sample_interval_ms * INT64CONST(1000);
		int64		now_us = cpm_monotonic_us();

		if (now_us >= due_us)
		{
			uint64		missed = (now_us - due_us) / interval_us;

			take_round(context, now_us, previous_us, missed);
			previous_us = now_us;
			due_us += (missed + 1) * interval_us;
		}
		sleep_until(due_us, wait_event);
		CHECK_FOR_INTERRUPTS();

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			cpm_server_settings_publish();
			/* If the interval became shorter, do not wait for the end of the longer one. */
			due_us = Min(due_us, cpm_monotonic_us() + cpm_sample_interval_ms * INT64CONST(1000));
		}
	}
}

void
cpm_sampler_main(Datum argument)
{
	(void) argument;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, cpm_signal_ignored);	/* there is no statement to cancel */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	cpm_server_settings_publish();
	cpm_backends_publish();
	cpm_worker_started(CPM_WORKER_SAMPLER);
	cpm_prepared_xacts_claim_recorder();
	before_shmem_exit(sampler_exit, 0);
	sample_forever(cpm_wait_event("ConnpoolMonitorSampler"));

	/*
	 * After exit code 0 the postmaster would not restart the worker. It must restart it after
	 * pg_terminate_backend().
	 */
	proc_exit(1);
}
