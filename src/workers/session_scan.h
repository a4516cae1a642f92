/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_scan.h
 *		The sampler's pass over all sessions: one scan feeds every consumer.
 */
#ifndef CPM_SESSION_SCAN_H
#define CPM_SESSION_SCAN_H

#include "base/sample.h"

/*
 * Take a sample. In the same pass over the sessions, record the number and the activity of the
 * busy sessions of each pool, the sessions that wait for their clients, and leak suspects. Counts
 * each busy session as busy for interval_ms. now_us is the monotonic clock. The sampler only, in a
 * memory context that is reset after the round.
 */
extern void cpm_scan_and_sample(CpmSample *sample, int64 interval_ms, int64 now_us);

#endif							/* CPM_SESSION_SCAN_H */
