/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_counters.h
 *		The counters of each pool, by index of counters/pool_table.
 *
 * Sessions add to them when they open, when they leave the pool, and when they use a feature. Any
 * process with shared memory may call these functions; none takes a lock or raises an error.
 */
#ifndef CPM_POOL_COUNTERS_H
#define CPM_POOL_COUNTERS_H

#include "base/histogram.h"
#include "base/pool.h"
#include "datatype/timestamp.h"

extern Size cpm_pool_counters_size(void);
extern void cpm_pool_counters_attach(void *memory, bool is_new);

/* Add to the counters of the pool that the calling session is in. */
extern void cpm_pool_add(int index, CpmCount count, uint64 amount);
extern void cpm_pool_add_bucket(int index, int bucket, uint64 amount);
extern void cpm_pool_add_opened(int index, uint64 setup_time_us);
extern void cpm_pool_add_ended(int index, CpmSessionEnd how, uint64 session_time_us);
extern void cpm_pool_add_feature(int index, CpmFeature feature, uint64 uses, TimestampTz now);

/*
 * Raise the pool's peak of connections, or of busy sessions. Only the sampler, and the postmaster
 * at startup, call the second function.
 */
extern void cpm_pool_raise_peak(int index, uint32 connections);
extern void cpm_pool_raise_busy_peak(int index, uint32 busy);

/*
 * Begin a new epoch, in which all peaks are zero. The caller then raises each pool's peak to its
 * current connections.
 */
extern void cpm_pool_counters_reset_peaks(void);

/*
 * Return the time at which a session last opened in the pool, corrected if the clock was set back
 * since; 0 if none did.
 */
extern TimestampTz cpm_pool_last_opened(int index);

/*
 * Copy the pool's counters since the server started, plus those loaded at startup, and its peaks.
 * Does not set name, connections and policy. The second function adds the pool's buckets to a
 * histogram.
 */
extern void cpm_pool_counters_copy(int index, CpmPool *pool);
extern void cpm_pool_add_buckets_to(int index, CpmHistogram *histogram);

/*
 * Subtract the pool's baseline: its counters at the last reset, without peaks. A count that is
 * less than its baseline, because the reset came after the caller had read it, becomes 0.
 */
extern void cpm_pool_subtract_baseline(int index, CpmPool *pool);
extern void cpm_pool_subtract_bucket_baseline(int index, CpmHistogram *histogram);

/* Set the baseline. The caller holds the lock of counters/pool_table exclusively. */
extern void cpm_pool_set_baseline(int index, const CpmPool *baseline,
								  const CpmHistogram *histogram);

/* Copy the statement counts only, and return the number of sessions opened. */
extern uint64 cpm_pool_counters_copy_counts(int index, CpmQueryCounts *counts);

/*
 * Return a statement count since the last reset. Does not include the counts in the slots of open
 * sessions, so the pool must have no session.
 */
extern uint64 cpm_pool_counted(int index, CpmCount count);

/* Add counters from before the server started. Postmaster only, at startup. */
extern void cpm_pool_counters_load(int index, const CpmPool *pool, const CpmHistogram *histogram);

/*
 * Move the counters of pool "from" to pool "to": add the sums, raise the peaks and the times of
 * last use in "to", and clear "from". For evictions: "from" has no session, and the caller holds
 * the lock of counters/pool_table exclusively.
 */
extern void cpm_pool_counters_transfer(int from, int to);

/* Prefetch the counters that cpm_pool_counters_copy() reads, except buckets. */
extern void cpm_pool_counters_prefetch(int index);

#endif							/* CPM_POOL_COUNTERS_H */
