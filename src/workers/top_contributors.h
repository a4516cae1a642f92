/* SPDX-License-Identifier: PostgreSQL */
/*
 * top_contributors.h
 *		Names the sessions or pools that contribute most to a metric.
 */
#ifndef CPM_TOP_CONTRIBUTORS_H
#define CPM_TOP_CONTRIBUTORS_H

#include "base/metric.h"

/*
 * Describe the sessions or pools behind the metric's value, in a sentence without its full stop;
 * empty if there are none. Costs more than a sample, so call it only for a warning that is about
 * to be logged. The sampler only, in a memory context that is reset after the round. Takes the
 * locks of cpm_lock_waits() for blocked_sessions, and those of cpm_prepared_xacts_list() for
 * metrics that include prepared transactions.
 */
extern void cpm_find_top_contributors(CpmMetricId id, char *buffer, size_t size);

#endif							/* CPM_TOP_CONTRIBUTORS_H */
