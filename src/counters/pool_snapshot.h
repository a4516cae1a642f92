/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_snapshot.h
 *		Consistent snapshots of all pools: the counters in the pool table plus those
 *		that open sessions still hold in their backend slots.
 */
#ifndef CPM_POOL_SNAPSHOT_H
#define CPM_POOL_SNAPSHOT_H

#include "base/histogram.h"
#include "base/pool.h"
#include "datatype/timestamp.h"

/* The histograms of query times in a snapshot. Each has over 2 kB, so callers choose. */
typedef enum CpmSnapshotHistograms
{
	CPM_NO_HISTOGRAM,
	CPM_HISTOGRAM_OF_ALL_POOLS, /* the sum over all pools */
	CPM_HISTOGRAM_OF_EACH_POOL
} CpmSnapshotHistograms;

typedef struct CpmPoolSnapshot
{
	int			slots;			/* length of is_used and pool */
	bool	   *is_used;		/* by index of counters/pool_table */
	CpmPool    *pool;			/* by the same index; set only where is_used is true */
	int			histograms;		/* length of "histogram": 0, 1 or "slots" */
	CpmHistogram *histogram;	/* the sum, or by the same index */
} CpmPoolSnapshot;

/*
 * Return the counters of all pools since the last reset, as of one moment, so that sums over them
 * agree with each other. Palloc'd. Any process; takes no lock. Processes interrupts.
 *
 * Retries if a transfer of counters overlaps the read, and soon asks sessions to pause transfers.
 * If that does not help, for example because a backend was stopped in mid-transfer, returns after
 * about a second a possibly inconsistent snapshot, clamped at zero.
 */
extern CpmPoolSnapshot cpm_pool_snapshot(CpmSnapshotHistograms kind);

/*
 * Do the same in two steps: allocate a snapshot, and read into it, as often as necessary. A caller
 * that holds the lock of counters/pool_table must allocate before it acquires the lock. With
 * nowait, requests the pause at once and waits for at most 20 ms.
 */
extern CpmPoolSnapshot cpm_pool_snapshot_alloc(CpmSnapshotHistograms kind);
extern void cpm_pool_snapshot_read(CpmPoolSnapshot *snapshot, bool nowait);
extern void cpm_pool_snapshot_free(CpmPoolSnapshot *snapshot);

/*
 * Set *histogram to the durations of all statements since the server started, plus those loaded at
 * startup. Retries, waits and gives up like the functions above; returns false if it gave up. The
 * library must be preloaded.
 */
extern bool cpm_pools_histogram(CpmHistogram *histogram, bool nowait);

/*
 * A pool's counters, which resets do not affect, to compute rates from two reads. A field has only
 * the low 32 bits of its counter, so compute differences modulo 2^32.
 */
typedef struct CpmPoolRateCounters
{
	uint32		generation;		/* of the slot; a difference across generations is meaningless */
	uint32		opened;
	uint32		failed;
	uint32		time_ms;
} CpmPoolRateCounters;

/*
 * Set counters[i] to those of the pool with index i, for all cpm_pool_slots() indexes; zeros if
 * the slot is free. Retries a few times if a transfer overlaps the read; after that, counts of
 * sessions that changed pools meanwhile may be missing or included twice. Any process; takes no
 * lock.
 */
extern void cpm_pool_rate_counters(CpmPoolRateCounters *counters);

/*
 * Reset all pools: set their baselines to their current counters, their peaks of connections to
 * the current numbers, and their peaks of busy sessions to zero. Open sessions count as opened
 * after the reset, so that the number opened remains the sum of those ended and those open. The
 * caller holds the lock of counters/pool_table exclusively; otherwise another session could evict
 * a pool before its baseline is written. Overwrites *totals, which the caller allocates with a
 * histogram of each pool before it acquires the lock.
 */
extern void cpm_pools_reset_baselines(CpmPoolSnapshot *totals);

#endif							/* CPM_POOL_SNAPSHOT_H */
