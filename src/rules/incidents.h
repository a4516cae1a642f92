/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.h
 *		Decides when an incident begins and ends, and when to take a snapshot of it.
 */
#ifndef CPM_INCIDENTS_RULE_H
#define CPM_INCIDENTS_RULE_H

#include "base/incident.h"

#define CPM_INCIDENT_PAUSE_US USECS_PER_MINUTE	/* a shorter one does not end an incident */

typedef enum CpmIncidentStep
{
	CPM_INCIDENT_NONE,
	CPM_INCIDENT_BEGINS,
	CPM_INCIDENT_RESUMES,		/* the last one continues, because it has just ended */
	CPM_INCIDENT_CONTINUES,
	CPM_INCIDENT_ENDS
} CpmIncidentStep;

/* Set the state to that of a server that had no incident. */
extern void cpm_incident_state_init(CpmIncidentState *state);

/*
 * Advance the state by one sample. has_alert: the status of some alert is not OK. has_refusal: a
 * connection was refused since the previous sample because no slot was free. Changes only *state.
 */
extern CpmIncidentStep cpm_incident_step(CpmIncidentState *state, bool has_alert,
										 bool has_refusal, int64 now_us);

/*
 * Return true if the sample is clearly worse than those of which the incident has snapshots: more
 * sessions are blocked, or equally many are blocked and the number of busy ones is more than a
 * tenth higher. Returns false until a pause after the last snapshot has passed. After each
 * snapshot, whatever its reason, the caller calls the second function with the time that it took.
 */
extern bool cpm_incident_is_worse(const CpmIncidentState *state, uint32 blocked, uint32 busy,
								  int64 now_us);
extern void cpm_incident_took_snapshot(CpmIncidentState *state, uint32 blocked, uint32 busy,
									   int64 now_us, int64 cost_us);

/* Add a metric to those that left OK, unless it is among them. */
extern void cpm_incident_add_metric(CpmIncident *incident, CpmMetricId id);

/* Set ids[] to the metrics that left OK, in that order, and return their number. */
extern int	cpm_incident_metrics(const CpmIncident *incident, CpmMetricId *ids);

/*
 * Add a change of an alert to the timeline. If the timeline is full, drops an entry from the
 * middle, so that it keeps how the incident began and how it ended.
 */
extern void cpm_incident_add_change(CpmIncident *incident, const CpmIncidentChange *change);

#endif							/* CPM_INCIDENTS_RULE_H */
