/* SPDX-License-Identifier: PostgreSQL */
/*
 * incident_snapshot.h
 *		Takes a snapshot of all client sessions for an incident.
 */
#ifndef CPM_INCIDENT_SNAPSHOT_H
#define CPM_INCIDENT_SNAPSHOT_H

#include "base/incident.h"

/*
 * Set *rows to a palloc'd array of up to CPM_SNAPSHOT_ROWS rows and return their number. The first
 * rows are up to CPM_INCIDENT_SESSIONS sessions that are busy or that block others: first those
 * that block the most sessions, then those with the oldest transaction or, without one, the oldest
 * state. The remaining rows are groups of all other sessions by pool and state, the largest first.
 * If there are too many, the smallest are merged into one for each state, after the others. The
 * sampler only, in a memory context that is reset after the round. Takes the locks of
 * cpm_lock_waits(). Raises an error if memory runs out.
 */
extern int	cpm_snapshot_rows(CpmSnapshotRow **rows);

#endif							/* CPM_INCIDENT_SNAPSHOT_H */
