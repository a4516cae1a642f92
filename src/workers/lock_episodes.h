/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_episodes.h
 *		Observes waits for locks at each sample: which exceed blocked_age, and how each ended.
 */
#ifndef CPM_LOCK_EPISODES_H
#define CPM_LOCK_EPISODES_H

#include "base/session.h"

/*
 * Log the waits that exceed blocked_age, and the end of those logged earlier. now_us is the same
 * time by the monotonic clock. The sampler only, after cpm_lock_roots_update(). Allocates memory
 * in proportion to the number of waits. If a wait exceeds blocked_age, takes ProcArrayLock in
 * shared mode.
 */
extern void cpm_lock_episodes_round(TimestampTz now, int64 now_us, const CpmAges *ages);

#endif							/* CPM_LOCK_EPISODES_H */
