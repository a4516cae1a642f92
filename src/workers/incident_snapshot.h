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
 * rows are up to CPM_INCIDENT_SESSIONS sessions that are not idle or that block others, ordered by
 * the number of sessions that they block, then by the age of the transaction or statement. The
 * other rows are groups of all other sessions by pool and state, the largest first. The sampler
 * only. Raises an error if memory runs out.
 */
extern int	cpm_snapshot_rows(CpmSnapshotRow **rows);

#endif							/* CPM_INCIDENT_SNAPSHOT_H */
