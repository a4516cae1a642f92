/* SPDX-License-Identifier: PostgreSQL */
/*
 * incident_snapshot.h
 *		Takes a snapshot of all client sessions for an incident.
 */
#ifndef CPM_INCIDENT_SNAPSHOT_H
#define CPM_INCIDENT_SNAPSHOT_H

#include "base/incident.h"

/*
 * Set *rows to a palloc'd array of up to CPM_SNAPSHOT_ROWS rows and return their number. First the
 * sessions that are not idle or block others: those that block the most, then those with the
 * oldest transactions or statements, up to CPM_INCIDENT_SESSIONS. Then groups of all others by
 * pool and state, the largest first. The sampler only. Raises an error if memory runs out.
 */
extern int	cpm_snapshot_rows(CpmSnapshotRow **rows);

#endif							/* CPM_INCIDENT_SNAPSHOT_H */
