/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.h
 *		The last incidents, with snapshots of the sessions that were open during them.
 */
#ifndef CPM_INCIDENTS_H
#define CPM_INCIDENTS_H

#include "base/incident.h"
#include "base/stream.h"

/*
 * Incidents and snapshots in the order in which they began or were taken. The rows of a snapshot
 * follow those of the snapshot before it.
 */
typedef struct CpmIncidents
{
	TimestampTz last_sample;	/* in which an incident was on; 0: none */
	int			incidents;
	int			snapshots;
	int			rows;
	CpmIncident incident[CPM_INCIDENTS_KEPT];
	CpmSnapshot snapshot[CPM_INCIDENTS_KEPT * CPM_INCIDENT_SNAPSHOTS];
	CpmSnapshotRow row[CPM_INCIDENT_ROWS];
} CpmIncidents;

/* The sampler's state between two samples, in shared memory so that it outlives the sampler. */
typedef struct CpmIncidentProgress
{
	CpmIncidentState state;
	CpmStatus	status[CPM_METRICS];	/* of each alert after the last sample */
	uint64		refused;		/* counters of the whole server at the last sample */
	uint64		failed;
	bool		has_unsaved;	/* changes of incidents since the saver was last woken */
	bool		has_urgent;		/* the changes are more than new counts */
	int64		wakeup_us;		/* when the saver was last woken */
} CpmIncidentProgress;

extern Size cpm_incidents_size(void);
extern void cpm_incidents_attach(void *memory, bool is_new);

/*
 * The sampler only, up to the next comment; none can fail. Return its state; remove the incidents
 * that were reset, and return true if there were any; return the newest incident, NULL if there is
 * none.
 */
extern CpmIncidentProgress *cpm_incidents_progress(void);
extern bool cpm_incidents_remove_reset(void);
extern const CpmIncident *cpm_incidents_newest(void);

/* Add an incident, whose id this sets. Drops the oldest one if there are CPM_INCIDENTS_KEPT. */
extern void cpm_incidents_begin(CpmIncident *incident);

/* Replace the newest incident, except for its number of snapshots. "at" is the sample's time. */
extern void cpm_incidents_update(const CpmIncident *incident, TimestampTz at);

/* Return true if the newest incident has room for another snapshot of that kind. */
extern bool cpm_incidents_have_room(bool is_worst);

/*
 * Add a snapshot with up to CPM_SNAPSHOT_ROWS rows to the newest incident. One of the worst moment
 * replaces the incident's previous one. To make room for the rows, drops the snapshots of the
 * oldest incidents.
 */
extern void cpm_incidents_add_snapshot(TimestampTz at, bool is_worst, const CpmSnapshotRow *row,
									   int rows);

/*
 * Return a palloc'd copy, without snapshots unless requested, or NULL if the sampler has been
 * stopped in the middle of a change. Any process, if the library is preloaded; takes no lock.
 */
extern CpmIncidents *cpm_incidents_read(bool with_snapshots);

/* Return how many incidents have begun since the server started. Any process; takes no lock. */
extern uint64 cpm_incidents_begun(void);

/* Hide all present incidents. The next one gets a higher id all the same. Any process. */
extern void cpm_incidents_reset(void);

/*
 * The parts of the file of incidents. Call cpm_incidents_save_begin() before the file is written,
 * and only if it returns true: there are changes since the last save, and they can be read. Call
 * cpm_incidents_save_end() afterwards. The saver only, or the postmaster at shutdown.
 */
extern const CpmFilePart cpm_incidents_part;
extern const CpmFilePart cpm_incident_changes_part;
extern const CpmFilePart cpm_snapshots_part;
extern const CpmFilePart cpm_snapshot_rows_part;
extern bool cpm_incidents_save_begin(void);
extern void cpm_incidents_save_end(bool is_saved);

/*
 * The part with the id of the newest incident, which needs no copy. It is in both files, so that
 * no id is used again if one of them is lost.
 */
extern const CpmFilePart cpm_incident_id_part;

/*
 * Complete what was loaded: count the snapshots of each incident. skip_id leaves out an id,
 * because the server crashed and the last incident may not have been saved. Postmaster only, at
 * startup.
 */
extern void cpm_incidents_loaded(bool skip_id);

#endif							/* CPM_INCIDENTS_H */
