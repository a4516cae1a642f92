/* SPDX-License-Identifier: PostgreSQL */
/*
 * top_contributors.h
 *		Who contributes most to a metric.
 */
#ifndef CPM_TOP_CONTRIBUTORS_H
#define CPM_TOP_CONTRIBUTORS_H

#include "base/metric.h"

/*
 * Write a sentence without its full stop that names the sessions or
 * applications behind the metric's value; empty when there is none. Called at
 * transitions only. Allocates in the current context; takes what
 * cpm_lock_waits() takes for blocked_sessions.
 */
extern void cpm_find_top_contributors(CpmMetricId id, char *buffer, size_t size);

#endif							/* CPM_TOP_CONTRIBUTORS_H */
