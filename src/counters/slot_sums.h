/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot_sums.h
 *		Sums and maxima of the counters in the slots of all backends.
 *
 * Any process may call these functions, unless noted otherwise. They take no lock, and those that
 * return counters return zeros if the library is not preloaded.
 */
#ifndef CPM_SLOT_SUMS_H
#define CPM_SLOT_SUMS_H

#include "base/query_counts.h"

/*
 * Return the counts of all sessions since the server started, plus those loaded at startup. They
 * never decrease.
 */
extern CpmQueryCounts cpm_slots_counts(void);

/*
 * Add counters from before the server started. The second function sets the longest statement of
 * that time. The postmaster only, at startup.
 */
extern void cpm_slots_load(const CpmQueryCounts *counts);
extern void cpm_slots_load_max(int64 max_us);

/*
 * Return the duration of the longest statement since the last reset, 0 if there was none. The
 * second function resets it.
 */
extern int64 cpm_slots_max_us(void);
extern void cpm_slots_reset_max(void);

/* A tick is a period of about ten seconds. Return the number of the current one. */
extern uint32 cpm_slots_tick(void);

/*
 * Return the duration of the longest statement of a tick, 0 if there was none. The tick must be
 * the current or the previous one.
 */
extern int64 cpm_slots_tick_max_us(uint32 tick);

/* Begin the next tick. Only the sampler and resets call this. */
extern void cpm_slots_next_tick(void);

#endif							/* CPM_SLOT_SUMS_H */
