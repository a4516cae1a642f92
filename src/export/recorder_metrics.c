/* SPDX-License-Identifier: PostgreSQL */
/*
 * recorder_metrics.c
 *		The metric families of recorded events (incidents, waits for locks, deadlocks) and of
 *		busy time by wait class.
 */
#include "postgres.h"

#include "base/load.h"
#include "base/pool.h"
#include "base/wait_class.h"
#include "events/deadlocks.h"
#include "export/recorder_metrics.h"
#include "samples/incidents.h"
#include "utils/timestamp.h"

/* Append the deadlocks by database. Entries with the same name share a series. */
static void
write_deadlocks(CpmExposition *out, const CpmMonotonicTotals *totals)
{
	char		name[CPM_DEADLOCK_DATABASES + 1][NAMEDATALEN];
	double		sum[CPM_DEADLOCK_DATABASES + 1];
	int			names = 0;

	cpm_family_begin(out, "deadlocks", CPM_COUNTER,
					 "Statements of clients that failed because of a deadlock.");
	for (int i = 0; i <= CPM_DEADLOCK_DATABASES; i++)
	{
		uint64		deadlocks = totals->deadlocks[i];
		int			found = 0;

		if (deadlocks == 0)
			continue;
		(void) cpm_deadlocks_get(i, name[names]);
		while (found < names && strcmp(name[found], name[names]) != 0)
			found++;
		if (found == names)
			sum[names++] = 0;
		sum[found] += (double) deadlocks;
	}
	for (int i = 0; i < names; i++)
		cpm_sample_labeled(out, "database", name[i], sum[i]);
}

void
cpm_write_recorded_events(CpmExposition *out, const CpmMonotonicTotals *totals)
{
	cpm_family_begin(out, "incidents", CPM_COUNTER,
					 "Incidents that have begun since the server started.");
	cpm_sample_unlabeled(out, (double) cpm_incidents_begun());
	cpm_family_begin(out, "lock_waits", CPM_COUNTER,
					 "Waits for heavyweight locks that exceeded blocked_age, including those that "
					 "still last; each is counted once.");
	cpm_sample_unlabeled(out, (double) totals->lock_waits);
	cpm_family_begin(out, "lock_wait_seconds", CPM_COUNTER,
					 "Time that sessions have spent in waits for heavyweight locks that exceeded "
					 "blocked_age, up to the last sample.");
	cpm_sample_unlabeled(out, (double) totals->lock_wait_us / USECS_PER_SEC);
	write_deadlocks(out, totals);
}

static void
write_busy_seconds(CpmExposition *out, const CpmLoad *load)
{
	cpm_family_begin(out, "busy_session_seconds", CPM_COUNTER,
					 "Time that sessions were active or in a transaction, by what they did or "
					 "waited for at each sample.");
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		cpm_sample_labeled(out, "class", cpm_wait_class_name(i),
						   (double) load->ms[i] / 1000);
}

/* Append the samples of a pool; zeros too, because rate() ignores the first value of a series. */
static void
write_busy_seconds_of_pool(CpmExposition *out, const CpmPoolName *name, const CpmLoad *load)
{
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
	{
		cpm_pool_sample_begin(out, name);
		cpm_sample_label(out, "class", cpm_wait_class_name(i));
		cpm_sample_end(out, (double) load->ms[i] / 1000);
	}
}

static void
write_pool_busy_seconds(CpmExposition *out, const CpmMonotonicCounters *monotonic)
{
	cpm_family_begin(out, "pool_busy_session_seconds", CPM_COUNTER,
					 "Busy time of sessions by pool and wait class, of up to 20 pools, since the "
					 "series of each pool began.");
	for (int i = 0; i < monotonic->pools.slots; i++)
		if (monotonic->has_series[i])
			write_busy_seconds_of_pool(out, &monotonic->pools.pool[i].name,
									   &monotonic->series_load[i]);
	write_busy_seconds_of_pool(out, NULL, &monotonic->other_load);
}

void
cpm_write_recorded_load(CpmExposition *out, const CpmMonotonicCounters *monotonic)
{
	write_busy_seconds(out, &monotonic->totals.load);
	write_pool_busy_seconds(out, monotonic);
}
