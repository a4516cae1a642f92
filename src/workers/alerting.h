/* SPDX-License-Identifier: PostgreSQL */
/*
 * alerting.h
 *		Steps the alerts by one sample and announces what has changed.
 */
#ifndef CPM_ALERTING_H
#define CPM_ALERTING_H

#include "base/sample.h"

/*
 * The sampler only. elapsed_us: since the round before, 0 for the first; now_us:
 * by the monotonic clock.
 * Allocates in the current memory context at transitions.
 */
extern void cpm_alerting_round(const CpmSample *sample, int64 elapsed_us, int64 now_us);

#endif							/* CPM_ALERTING_H */
