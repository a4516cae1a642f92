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
 * empty if there are none. Costs more than a sample, so call it only when an alert changes.
 * Allocates in the current memory context. For blocked_sessions takes the locks of
 * cpm_lock_waits().
 */
extern void cpm_find_top_contributors(CpmMetricId id, char *buffer, size_t size);

#endif							/* CPM_TOP_CONTRIBUTORS_H */
