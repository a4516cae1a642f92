/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker_status.c
 *		The status that each background worker publishes.
 *
 * Each worker has an entry, which only that worker writes, under a sequence lock. Readers copy
 * the entry and retry if the worker changed it meanwhile. If a worker dies while it writes, the
 * lock remains in the writing state until the worker is restarted and repairs it.
 */
#include "postgres.h"

#include <math.h>

#include "base/clock.h"
#include "base/compat.h"
#include "base/seqlock.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/worker_status.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define STALE_INTERVALS 10
#define STALE_MIN_US (10 * USECS_PER_SEC)

typedef struct WorkerEntry
{
	CpmSeqlock	lock;			/* guards status */
	CpmWorkerStatus status;		/* the worker writes */
	pg_atomic_uint32 proc_number;	/* of its PGPROC; the worker writes; stale after its end */
	pg_atomic_uint32 is_requested;	/* any process sets it; the worker clears it */
} WorkerEntry;

typedef struct WorkerTable
{
	TimestampTz server_started_at;	/* the postmaster writes, at start */
	WorkerEntry worker[CPM_WORKERS];
} WorkerTable;

static WorkerTable *shared;

Size
cpm_worker_status_size(void)
{
	return sizeof(WorkerTable);
}

void
cpm_worker_status_attach(void *memory, bool is_new)
{
	shared = memory;
	if (!is_new)
		return;
	memset(shared, 0, sizeof(*shared));
	shared->server_started_at = GetCurrentTimestamp();
	for (int i = 0; i < CPM_WORKERS; i++)
	{
		WorkerEntry *entry = &shared->worker[i];

		cpm_seqlock_init(&entry->lock);
		entry->status.active_us = cpm_monotonic_us();
		pg_atomic_init_u32(&entry->proc_number, 0);
		pg_atomic_init_u32(&entry->is_requested, 0);
	}
}

void
cpm_worker_started(CpmWorker worker)
{
	WorkerEntry *entry = &shared->worker[worker];

	pg_atomic_write_u32(&entry->proc_number, (uint32) cpm_proc_number(MyProc));
	cpm_seqlock_repair(&entry->lock);
	cpm_seqlock_write_begin(&entry->lock);
	entry->status.pid = MyProcPid;
	entry->status.active_us = cpm_monotonic_us();
	if (worker != CPM_WORKER_SAVER)
		entry->status.problem[0] = '\0';
	cpm_seqlock_write_end(&entry->lock);
}

void
cpm_worker_ended(CpmWorker worker)
{
	WorkerEntry *entry = &shared->worker[worker];

	/* the worker may end here because of an error in the middle of a write */
	cpm_seqlock_repair(&entry->lock);
	cpm_seqlock_write_begin(&entry->lock);
	entry->status.pid = 0;
	cpm_seqlock_write_end(&entry->lock);
}

void
cpm_worker_completed_round(CpmWorker worker, TimestampTz at, double cost_ms, uint64 missed)
{
	WorkerEntry *entry = &shared->worker[worker];

	cpm_seqlock_write_begin(&entry->lock);
	entry->status.last_round = at;
	entry->status.active_us = cpm_monotonic_us();
	entry->status.cost_ms = cost_ms;
	entry->status.rounds++;
	entry->status.missed += missed;
	entry->status.problem[0] = '\0';
	cpm_seqlock_write_end(&entry->lock);
}

void
cpm_worker_report_problem(CpmWorker worker, const char *problem)
{
	WorkerEntry *entry = &shared->worker[worker];

	cpm_seqlock_write_begin(&entry->lock);
	strlcpy(entry->status.problem, problem, sizeof(entry->status.problem));
	cpm_seqlock_write_end(&entry->lock);
}

CpmWorkerStatus
cpm_worker_status(CpmWorker worker)
{
	CpmWorkerStatus status = {0};

	if (shared != NULL)
		cpm_seqlock_copy(&shared->worker[worker].lock, &status, &shared->worker[worker].status,
						 sizeof(status));
	return status;
}

TimestampTz
cpm_server_started_at(void)
{
	return shared != NULL ? shared->server_started_at : 0;
}

bool
cpm_worker_is_stale(const CpmWorkerStatus *status, int interval_ms)
{
	int64		allowed_us = STALE_INTERVALS * (int64) interval_ms * 1000;

	return cpm_monotonic_us() - status->active_us > Max(allowed_us, STALE_MIN_US);
}

double
cpm_last_round_age_ms(const CpmWorkerStatus *status, TimestampTz now)
{
	int64		age_us = now - status->last_round;

	if (status->last_round == 0)
		return NAN;
	return floor(Max(age_us, cpm_monotonic_us() - status->active_us) / 1000.0);
}

TimestampTz
cpm_last_round_at(const CpmWorkerStatus *sampler)
{
	return sampler->last_round == 0 ? 0 :
		Min(sampler->last_round, cpm_timestamp_of(sampler->active_us));
}

void
cpm_worker_wake(CpmWorker worker)
{
	WorkerEntry *entry = &shared->worker[worker];

	/* If the PGPROC belongs to another process by now, the wakeup is spurious but harmless. */
	if (cpm_worker_status(worker).pid != 0)
		SetLatch(&GetPGProcByNumber(pg_atomic_read_u32(&entry->proc_number))->procLatch);
}

void
cpm_worker_request(CpmWorker worker)
{
	pg_atomic_write_u32(&shared->worker[worker].is_requested, 1);
	cpm_worker_wake(worker);
}

bool
cpm_worker_was_requested(CpmWorker worker)
{
	return pg_atomic_exchange_u32(&shared->worker[worker].is_requested, 0) != 0;
}
