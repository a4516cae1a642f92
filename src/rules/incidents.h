/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.h
 *		Decides when an incident begins and ends, and when to take a snapshot of it.
 */
#ifndef CPM_INCIDENTS_RULE_H
#define CPM_INCIDENTS_RULE_H

#include "base/incident.h"

/* How long a refusal keeps an incident open, and how long an ended incident can resume. */
#define CPM_INCIDENT_PAUSE_US USECS_PER_MINUTE

typedef enum CpmIncidentStep
{
	CPM_INCIDENT_NONE,
	CPM_INCIDENT_BEGINS,
	CPM_INCIDENT_RESUMES,		/* the last incident, which has just ended, is in progress again */
	CPM_INCIDENT_CONTINUES,
	CPM_INCIDENT_ENDS
} CpmIncidentStep;

/* Initialize the state of a server that has had no incident. */
extern void cpm_incident_state_init(CpmIncidentState *state);

/*
 * Advance the state by one sample. has_alert: the status of some alert is not OK. has_refusal: a
 * connection was refused since the previous sample because no slot was free. Changes only *state.
 */
extern CpmIncidentStep cpm_incident_step(CpmIncidentState *state, bool has_alert,
										 bool has_refusal, int64 now_us);

/*
 * Return true if the pause after the last snapshot is over and the incident is clearly worse than
 * in all of its snapshots. It is worse if more sessions are blocked, or if as many are blocked and
 * over a tenth more are busy.
 */
extern bool cpm_incident_is_worse(const CpmIncidentState *state, uint32 blocked, uint32 busy,
								  int64 now_us);

/*
 * Return true if the snapshot of a rise to CRITICAL may replace that of an earlier rise to
 * CRITICAL, because the last snapshot of such a rise was taken at least ten seconds ago.
 */
extern bool cpm_incident_may_replace_critical(const CpmIncidentState *state, int64 now_us);

/* Record that a snapshot was taken for that reason, which took cost_us. */
extern void cpm_incident_record_snapshot(CpmIncidentState *state, CpmSnapshotReason reason,
										 uint32 blocked, uint32 busy, int64 now_us,
										 int64 cost_us);

/* Record that the metric's alert left OK; does nothing if that is recorded already. */
extern void cpm_incident_add_metric(CpmIncident *incident, CpmMetricId id);

/* Set ids[] to the metrics whose alerts left OK, the first one first; returns their number. */
extern int	cpm_incident_metrics(const CpmIncident *incident, CpmMetricId *ids);

/*
 * Add a change of an alert to the timeline. If the timeline is full, drops an entry from its
 * middle, so that the beginning and the end of the incident remain.
 */
extern void cpm_incident_add_change(CpmIncident *incident, const CpmIncidentChange *change);

#endif							/* CPM_INCIDENTS_RULE_H */
