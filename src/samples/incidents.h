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
	TimestampTz last_sample;	/* the last one during an incident; 0: none */
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
	CpmStatus	status[CPM_METRICS];	/* of each alert after the last sample; OK if it is stale */
	bool		is_stale[CPM_METRICS];	/* the alert is from before the start, and its condition
										 * has not been met since */
	uint64		refused;		/* counters of the whole server at the last sample */
	uint64		failed;
	bool		has_unsaved;	/* incidents have changed since the saver was last woken */
	bool		has_urgent;		/* one of these changes concerns more than counts */
	int64		wakeup_us;		/* when the saver was last woken, by the monotonic clock */
} CpmIncidentProgress;

extern Size cpm_incidents_size(void);
extern void cpm_incidents_attach(void *memory, bool is_new);

/*
 * Return the sampler's state, which the caller may change. The sampler only, or the postmaster at
 * startup, like all functions up to cpm_incidents_add_snapshot(). None of them can fail.
 */
extern CpmIncidentProgress *cpm_incidents_progress(void);

/* Remove the incidents that a reset has hidden; returns true if there were any. */
extern bool cpm_incidents_remove_reset(void);

/* Return the newest incident; NULL if there is none. */
extern const CpmIncident *cpm_incidents_newest(void);

/* Add an incident, and set its id. Drops the oldest one if there are CPM_INCIDENTS_KEPT. */
extern void cpm_incidents_begin(CpmIncident *incident);

/* Replace the newest incident, except for its number of snapshots. "at" is the sample's time. */
extern void cpm_incidents_update(const CpmIncident *incident, TimestampTz at);

/*
 * Return true if the newest incident has room for another snapshot taken for that reason, or if
 * that snapshot replaces the one of the worst moment (for CPM_AT_WORST) or of a rise to WARNING
 * (for CPM_AT_CRITICAL).
 */
extern bool cpm_incident_has_room_for(CpmSnapshotReason reason);

/*
 * Add a snapshot with up to CPM_SNAPSHOT_ROWS rows to the newest incident. Unless the reason is
 * CPM_AT_CRITICAL, the caller has checked that there is room. A snapshot of the worst moment
 * replaces the incident's previous snapshot of that kind. If there is no room for a rise to
 * CRITICAL, its snapshot replaces the last one of a rise to WARNING or, if there is none, the last
 * one of a rise to CRITICAL, but never the incident's first snapshot. To make room for the rows,
 * drops the snapshots of the oldest incidents that have any.
 */
extern void cpm_incidents_add_snapshot(TimestampTz at, CpmSnapshotReason reason,
									   const CpmSnapshotRow *row, int rows);

/*
 * Correct all times that are in the future, because the clock was set back by setback_us. The
 * sampler only.
 */
extern void cpm_incidents_correct_times(TimestampTz now, int64 setback_us);

/*
 * Return a palloc'd copy of the incidents, without snapshots unless requested; NULL if the sampler
 * was stopped in the middle of a change. Any process, if the library is preloaded; takes no lock,
 * but may wait for about a second.
 */
extern CpmIncidents *cpm_incidents_read(bool with_snapshots);

/* Return how many incidents have begun since the server started. Any process; takes no lock. */
extern uint64 cpm_incidents_begun(void);

/* Hide all incidents. Does not reuse their ids. Any process. */
extern void cpm_incidents_reset(void);

/*
 * The parts of the file of incidents. cpm_incidents_save_begin() makes the copy that they write.
 * If it returns false, nothing has changed since the last save, or the incidents cannot be read;
 * do not write the file then. Otherwise write it and call cpm_incidents_save_end() with the
 * result. The saver only, or the postmaster at shutdown.
 */
extern const CpmFilePart cpm_incidents_part;
extern const CpmFilePart cpm_incident_changes_part;
extern const CpmFilePart cpm_snapshots_part;
extern const CpmFilePart cpm_snapshot_rows_part;
extern bool cpm_incidents_save_begin(void);
extern void cpm_incidents_save_end(bool is_saved);

/*
 * The part with the id of the newest incident, which can be saved at any time. The statistics file
 * and the file of incidents both have it, so that no id is reused if one of them is lost.
 */
extern const CpmFilePart cpm_incident_id_part;

/*
 * Compute the fields that the file does not contain: the index of each snapshot's first row, and
 * the number of each incident's snapshots. Drops all snapshots if their numbers of rows do not add
 * up to the number of loaded rows. If skip_id, leaves one id unused, because the server crashed
 * and its last incident may not have been saved. Postmaster only, at startup, after the file has
 * been loaded.
 */
extern void cpm_incidents_loaded(bool skip_id);

#endif							/* CPM_INCIDENTS_H */
