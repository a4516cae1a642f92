/* SPDX-License-Identifier: PostgreSQL */
/*
 * minute_counters.h
 *		What counters were a minute ago, for the metrics of the last minute.
 */
#ifndef CPM_MINUTE_COUNTERS_H
#define CPM_MINUTE_COUNTERS_H

#include "base/query_counts.h"
#include "datatype/timestamp.h"

/* Counters as they stood at one moment. */
typedef struct CpmCounters
{
	TimestampTz at;
	uint64		refused_for_slots;
	uint64		sessions_opened;
	CpmQueryCounts queries;
} CpmCounters;

extern Size cpm_minute_counters_size(void);
extern void cpm_minute_counters_attach(void *memory, bool is_new);

/* Keep a snapshot. The sampler only, at every sample; at most one a second is kept. */
extern void cpm_minute_counters_snapshot(const CpmCounters *now);

/* The last minute begins with the server's start: so much had been counted before. The postmaster. */
extern void cpm_minute_counters_init(const CpmCounters *now);

/*
 * The newest snapshot that is at least a minute older than now, or that of the
 * server's start. Any process; no lock. The library must be preloaded.
 */
extern CpmCounters cpm_counters_minute_ago(TimestampTz now);

#endif							/* CPM_MINUTE_COUNTERS_H */
