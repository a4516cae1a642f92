/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_scan.h
 *		What the sampler sees of single sessions while it takes a sample.
 */
#ifndef CPM_SESSION_SCAN_H
#define CPM_SESSION_SCAN_H

#include "base/sample.h"

/*
 * Take a sample, and note how many sessions of each pool are busy, for the
 * milliseconds that the sample stands for, and what looks forgotten, or does not
 * any more. The sampler only, in a memory context that is reset after the round;
 * now_us is by the monotonic clock.
 */
extern void cpm_scan_and_sample(CpmSample *sample, int64 elapsed_ms, int64 now_us);

#endif							/* CPM_SESSION_SCAN_H */
