/* SPDX-License-Identifier: PostgreSQL */
/*
 * minute_counters.h
 *		Counters as of a minute ago, to compute the metrics of the last minute.
 */
#ifndef CPM_MINUTE_COUNTERS_H
#define CPM_MINUTE_COUNTERS_H

#include "base/query_counts.h"

/* A snapshot of counters. */
typedef struct CpmCounters
{
	int64		at_us;			/* by the monotonic clock */
	uint64		refused_for_slots;
	uint64		sessions_opened;
	CpmQueryCounts queries;
} CpmCounters;

extern Size cpm_minute_counters_size(void);
extern void cpm_minute_counters_attach(void *memory, bool is_new);

/*
 * Store a snapshot, unless the last one is less than about a second old. Only the sampler calls
 * this, at every sample.
 */
extern void cpm_minute_counters_snapshot(const CpmCounters *now);

/* Set the first snapshot to the counters loaded at startup. The postmaster only. */
extern void cpm_minute_counters_init(const CpmCounters *now);

/* Record the counters at a reset, so that the last minute begins there. One caller at a time. */
extern void cpm_minute_counters_reset(const CpmCounters *now);

/*
 * Return the newest snapshot that is at least a minute old or, in the server's first minute, that
 * of its start. If a reset came after the snapshot, the counters are those of the reset. So read
 * the current counters after this call: counters read before it could be lower than those of a
 * reset in between. Any process; takes no lock. The library must be preloaded.
 */
extern CpmCounters cpm_minute_counters_read(void);

#endif							/* CPM_MINUTE_COUNTERS_H */
