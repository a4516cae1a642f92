/* SPDX-License-Identifier: PostgreSQL */
/*
 * culprit.h
 *		Who contributes most to a metric.
 */
#ifndef CPM_CULPRIT_H
#define CPM_CULPRIT_H

#include "base/metric.h"

/*
 * Write a sentence without its full stop that names the sessions or
 * applications behind the metric's value; empty when there is none. Called at
 * transitions only. Allocates in the current context; takes what
 * cpm_lock_waits() takes for blocked_sessions.
 */
extern void cpm_find_culprit(CpmMetricId id, char *buffer, size_t size);

#endif							/* CPM_CULPRIT_H */
