/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_snapshot.h
 *		Pools as they stand: what sessions have given them and what those that
 *		still run have counted, together.
 */
#ifndef CPM_POOL_SNAPSHOT_H
#define CPM_POOL_SNAPSHOT_H

#include "base/pool.h"
#include "datatype/timestamp.h"

typedef struct CpmPoolSnapshot
{
	int			slots;
	bool	   *is_used;		/* by index of counters/pool_table */
	CpmPool    *pool;			/* the same */
} CpmPoolSnapshot;

/*
 * All pools since the last reset, at one moment: sums over them agree with each
 * other. Any process; palloc'd; takes no lock, but under a storm of moves it
 * reads again, asks for quiet, and then takes what it has: a second when a session was
 * stopped within a move. In haste, as who holds the lock of counters/pool_table is, it asks for
 * quiet at once and waits for next to nothing.
 */
extern CpmPoolSnapshot cpm_pool_snapshot(void);
extern CpmPoolSnapshot cpm_pool_snapshot_nowait(void);

/* What a pool has counted since the server started, the low words of it. */
typedef struct CpmPoolRateCounters
{
	uint32		generation;
	uint32		opened;
	uint32		failed;
	uint32		time_ms;
} CpmPoolRateCounters;

/*
 * Of all pools, by index; zeros where there is none. Of one moment, or under a storm of
 * moves nearly so: cheap, for who compares pools. Any process; takes no lock.
 */
extern void cpm_pool_rate_counters(CpmPoolRateCounters *tally);

/*
 * Counts and peaks start anew. Sessions that are open count as opened then, so
 * that those opened stay the sum of those ended and those that are open. Hold
 * the lock of counters/pool_table exclusively, or a pool could be evicted between being
 * read and being marked.
 */
extern void cpm_pools_reset_baselines(void);

#endif							/* CPM_POOL_SNAPSHOT_H */
