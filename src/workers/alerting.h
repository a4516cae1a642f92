/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerting.h
 *		Advances all alerts by one sample and announces their transitions.
 */
#ifndef CPM_ALERTING_H
#define CPM_ALERTING_H

#include "base/sample.h"

/*
 * Advance all alerts, publish them, and announce transitions and repeated warnings. elapsed_us is
 * the time since the previous round, 0 for the first; now_us is the monotonic clock. The sampler
 * only, in a memory context that is reset after the round.
 */
extern void cpm_alerting_round(const CpmSample *sample, int64 elapsed_us, int64 now_us);

#endif							/* CPM_ALERTING_H */
