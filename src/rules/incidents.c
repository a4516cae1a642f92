/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.c
 *		Decides when an incident begins and ends, and when to take a snapshot of it.
 *
 * An incident lasts while an alert is not OK, and for a minute after each connection that was
 * refused because no slot was free. If the next incident would begin less than a minute after an
 * incident ended, the old incident resumes instead. Times are monotonic, so setting the system
 * clock has no effect.
 *
 * A snapshot costs more than a sample. While an incident gets worse, the next snapshot of its
 * worst moment therefore waits for a hundred times the duration of the previous snapshot, but for
 * at most ten seconds.
 *
 * If there is no room, the snapshot of a rise to CRITICAL replaces that of a rise to WARNING or,
 * if none is left, that of an earlier rise to CRITICAL. Alerts may rise to CRITICAL at every other
 * sample, and a snapshot from seconds before is as useful, so the snapshot of a rise to CRITICAL
 * replaces that of an earlier one at most every ten seconds.
 */
#include "postgres.h"

#include "rules/incidents.h"

#define PAUSE_PER_COST 100
#define MAX_SNAPSHOT_PAUSE_US (10 * USECS_PER_SEC)
#define MAX_POSITION 254		/* in CpmIncident.order; above CPM_METRICS, because a version with
								 * more metrics may have written the file */

void
cpm_incident_state_init(CpmIncidentState *state)
{
	memset(state, 0, sizeof(*state));
	state->ended_us = state->refused_us = state->critical_us = -1;
}

static bool
is_within_pause(int64 then_us, int64 now_us)
{
	return then_us >= 0 && now_us - then_us < CPM_INCIDENT_PAUSE_US;
}

CpmIncidentStep
cpm_incident_step(CpmIncidentState *state, bool has_alert, bool has_refusal, int64 now_us)
{
	bool		was_on = state->is_on;

	if (has_refusal)
		state->refused_us = now_us;
	state->is_on = has_alert || is_within_pause(state->refused_us, now_us);
	if (state->is_on && was_on)
		return CPM_INCIDENT_CONTINUES;
	if (was_on)
	{
		state->ended_us = now_us;
		return CPM_INCIDENT_ENDS;
	}
	if (!state->is_on)
		return CPM_INCIDENT_NONE;
	if (is_within_pause(state->ended_us, now_us))
		return CPM_INCIDENT_RESUMES;
	state->worst_blocked = state->worst_busy = 0;
	state->started_us = now_us;
	return CPM_INCIDENT_BEGINS;
}

bool
cpm_incident_is_worse(const CpmIncidentState *state, uint32 blocked, uint32 busy, int64 now_us)
{
	return now_us >= state->next_worst_us &&
		(blocked > state->worst_blocked ||
		 (blocked == state->worst_blocked && busy > state->worst_busy + state->worst_busy / 10));
}

bool
cpm_incident_may_replace_critical(const CpmIncidentState *state, int64 now_us)
{
	return state->critical_us < 0 || now_us - state->critical_us >= MAX_SNAPSHOT_PAUSE_US;
}

void
cpm_incident_record_snapshot(CpmIncidentState *state, CpmSnapshotReason reason, uint32 blocked,
							 uint32 busy, int64 now_us, int64 cost_us)
{
	if (reason == CPM_AT_CRITICAL)
		state->critical_us = now_us;
	state->next_worst_us = now_us + Min(PAUSE_PER_COST * cost_us, MAX_SNAPSHOT_PAUSE_US);
	if (blocked < state->worst_blocked ||
		(blocked == state->worst_blocked && busy < state->worst_busy))
		return;
	state->worst_blocked = blocked;
	state->worst_busy = busy;
}

void
cpm_incident_add_metric(CpmIncident *incident, CpmMetricId id)
{
	CpmMetricId ids[CPM_METRICS];

	if (incident->order[id] == 0)
		incident->order[id] = cpm_incident_metrics(incident, ids) + 1;
}

int
cpm_incident_metrics(const CpmIncident *incident, CpmMetricId *ids)
{
	int			count = 0;

	for (int position = 1; position <= MAX_POSITION; position++)
		for (int id = 0; id < CPM_METRICS; id++)
			if (incident->order[id] == position)
				ids[count++] = id;
	return count;
}

void
cpm_incident_add_change(CpmIncident *incident, const CpmIncidentChange *change)
{
	const int	middle = CPM_INCIDENT_CHANGES / 2;

	if (incident->changes == CPM_INCIDENT_CHANGES)
	{
		incident->changes--;
		memmove(&incident->change[middle], &incident->change[middle + 1],
				(incident->changes - middle) * sizeof(CpmIncidentChange));
	}
	incident->change[incident->changes++] = *change;
}
