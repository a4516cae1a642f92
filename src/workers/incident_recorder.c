/* SPDX-License-Identifier: PostgreSQL */
/*
 * incident_recorder.c
 *		Records incidents from the alerts, refusals and samples of each round.
 *
 * rules/incidents decides when an incident begins and ends, samples/incidents keeps it, and this
 * file fills it in. Outside an incident, a round only compares the alerts with those of the
 * previous round.
 *
 * Snapshots are taken when an incident begins, when an alert rises, and at the worst moment. A
 * snapshot costs more than a sample, and reads the lock table if sessions wait, so their number is
 * limited. A rise to CRITICAL can replace an earlier snapshot.
 *
 * The saver writes incidents to their file. The sampler wakes it when an incident begins or ends,
 * when an alert changes and after each snapshot, and every few seconds during an incident.
 */
#include "postgres.h"

#include <math.h>

#include "base/caught_error.h"
#include "base/clock.h"
#include "base/metric_settings.h"
#include "base/pool.h"
#include "counters/backend_counters.h"
#include "counters/slot_sums.h"
#include "events/rejections.h"
#include "rules/catalogue.h"
#include "rules/incidents.h"
#include "samples/alert_state.h"
#include "samples/incidents.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "utils/timestamp.h"
#include "workers/incident_recorder.h"
#include "workers/incident_snapshot.h"

/*
 * Minimum time between two wakeups of the saver: URGENT_SAVE_US if an incident began or ended, an
 * alert changed or a snapshot was taken, otherwise SAVE_US. A crash thus loses less than five
 * seconds of an incident, including the time that a save takes.
 */
#define URGENT_SAVE_US (1 * USECS_PER_SEC)
#define SAVE_US (3 * USECS_PER_SEC)

/* Static, because they are too large for the stack. */
static CpmAlertBoard board;
static CpmIncident incident;	/* a copy of the newest one, which the round changes */
static CpmStatus status[CPM_METRICS];	/* of each alert in this round */

/* Copy the newest refusal caused by a lack of slots. */
static void
copy_slot_rejection(const void *entry, void *arg)
{
	const CpmRejected *refused = entry;
	CpmRejected *newest = arg;

	if ((newest->first_at == 0 || refused->sequence > newest->sequence) &&
		(refused->reason == CPM_REJECTED_TOO_MANY || refused->reason == CPM_REJECTED_RESERVED))
		memcpy(newest, refused, sizeof(*newest));
}

/* Write the message of an incident that begins with a refusal. */
static void
describe_refusal(char *buffer, size_t size)
{
	CpmRejected refused = {.first_at = 0};
	CpmPoolName name = {0};

	cpm_rejections_log_scan(copy_slot_rejection, &refused);
	strlcpy(name.database, refused.database, NAMEDATALEN);
	strlcpy(name.role, refused.role, NAMEDATALEN);
	strlcpy(name.application_name, refused.application_name, NAMEDATALEN);
	if (refused.first_at != 0)
		snprintf(buffer, size, "no slot was free for a connection of %s", cpm_pool_label(&name));
	else
		strlcpy(buffer, "no slot was free for a connection", size);
}

/*
 * Set status[] to the status of each alert that counts. If a metric no longer exists, because the
 * last PgBouncer was removed from the settings, its alert keeps its status, which counts as OK
 * here. So does the status of a stale alert.
 */
static void
read_statuses(const CpmIncidentProgress *progress, int sources)
{
	for (int i = 0; i < CPM_METRICS; i++)
		status[i] = cpm_metric_is_available(&cpm_catalogue[i], sources) &&
			!progress->is_stale[i] ? board.row[i].alert.status : CPM_OK;
}

/* Return true if the value of the last sample met a threshold. */
static bool
is_met(const CpmAlertRow *row)
{
	/* an unknown value leaves the timers as they were, perhaps since before a restart */
	return !isnan(row->value) && (row->alert.held_us[0] >= 0 || row->alert.held_us[1] >= 0);
}

/*
 * Let stale alerts count again that have ended or whose condition is met. The message of a stale
 * alert is from before the restart, so replace it in the copy of the board.
 */
static void
refresh_stale_alerts(CpmIncidentProgress *progress, const CpmSample *sample)
{
	for (int i = 0; i < CPM_METRICS; i++)
	{
		CpmAlertRow *row = &board.row[i];
		CpmVerdict	verdict;

		if (!progress->is_stale[i] || (row->alert.status != CPM_OK && !is_met(row)))
			continue;
		progress->is_stale[i] = false;
		verdict = cpm_evaluate_metric(i, sample, cpm_settings_thresholds(i));
		cpm_describe(row->message, sizeof(row->message), i, row->alert.status, &verdict);
	}
}

/* Begin an incident, with the message of the first alert or, if there is none, of the refusal. */
static void
begin_incident(TimestampTz at)
{
	memset(&incident, 0, sizeof(incident));
	incident.started_at = at;
	for (int i = 0; i < CPM_METRICS && incident.message[0] == '\0'; i++)
		if (status[i] != CPM_OK)
			strlcpy(incident.message, board.row[i].message, sizeof(incident.message));
	if (incident.message[0] == '\0')
		describe_refusal(incident.message, sizeof(incident.message));
	cpm_incidents_begin(&incident);
}

/*
 * Add the alerts of this round to the incident, and their changes since the previous round.
 * Returns true if there are changes.
 */
static bool
add_alerts(const CpmIncidentProgress *progress, TimestampTz at)
{
	bool		has_changed = false;

	for (int i = 0; i < CPM_METRICS; i++)
	{
		CpmIncidentChange change;

		incident.status = Max(incident.status, (uint32) status[i]);
		if (status[i] != CPM_OK)
			cpm_incident_add_metric(&incident, i);
		if (status[i] == progress->status[i])
			continue;
		memset(&change, 0, sizeof(change)); /* the padding too, because it is saved */
		change.at = at;
		change.value = board.row[i].value;
		change.metric = i;
		change.from_status = (int32) progress->status[i];
		change.to_status = (int32) status[i];
		change.by_setting = board.row[i].alert.by_setting;
		cpm_incident_add_change(&incident, &change);
		has_changed = true;
	}
	return has_changed;
}

static void
add_counts(const CpmIncidentProgress *progress, const CpmSample *sample,
		   const CpmRoundCounts *counts)
{
	if (counts->refused > progress->refused)
		incident.status = CPM_CRITICAL;
	incident.refused += counts->refused - progress->refused;
	incident.failed_queries += counts->failed - progress->failed;
	incident.peak_connections = Max(incident.peak_connections, counts->peak_connections);
	incident.peak_connections = Max(incident.peak_connections,
									(uint32) sample->value[CPM_TOTAL_CONNECTIONS]);
	incident.peak_blocked = Max(incident.peak_blocked,
								(uint32) sample->value[CPM_BLOCKED_SESSIONS]);
}

/* Return the worst status to which an alert has risen since the previous round; CPM_OK if none. */
static CpmStatus
worst_rise(const CpmIncidentProgress *progress)
{
	CpmStatus	worst = CPM_OK;

	for (int i = 0; i < CPM_METRICS; i++)
		if (status[i] > progress->status[i])
			worst = Max(worst, status[i]);
	return worst;
}

/* Take a snapshot of the newest incident. If that raises an error, log it. */
static void
take_snapshot_safely(TimestampTz at, CpmSnapshotReason reason)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		CpmSnapshotRow *rows;
		int			count = cpm_snapshot_rows(&rows);

		cpm_incidents_add_snapshot(at, reason, rows, count);
	}
	PG_CATCH();
	{
		cpm_log_caught_error(context);
	}
	PG_END_TRY();
}

/* Return true if the incident may have a snapshot of an alert that rises. */
static bool
may_record_rise(const CpmIncidentProgress *progress, CpmSnapshotReason reason, int64 now_us)
{
	return cpm_incident_has_room_for(reason) ||
		(reason == CPM_AT_CRITICAL && cpm_incident_may_replace_critical(&progress->state, now_us));
}

/* Take a snapshot if one is due, and return true if so. */
static bool
take_due_snapshot(CpmIncidentProgress *progress, const CpmSample *sample, CpmIncidentStep step,
				  int64 now_us)
{
	uint32		blocked = (uint32) sample->value[CPM_BLOCKED_SESSIONS];
	uint32		busy = (uint32) (sample->value[CPM_ACTIVE_CONNECTIONS] +
								 sample->value[CPM_IDLE_IN_TRANSACTION]);
	CpmStatus	rise = worst_rise(progress);
	CpmSnapshotReason reason = rise == CPM_CRITICAL ? CPM_AT_CRITICAL : CPM_AT_WARNING;
	int64		started_us;

	if (step == CPM_INCIDENT_ENDS)
		return false;
	if ((step != CPM_INCIDENT_BEGINS && rise == CPM_OK) ||
		!may_record_rise(progress, reason, now_us))
	{
		reason = CPM_AT_WORST;
		if (!cpm_incident_is_worse(&progress->state, blocked, busy, now_us) ||
			!cpm_incident_has_room_for(reason))
			return false;
	}
	started_us = cpm_monotonic_us();
	take_snapshot_safely(sample->taken_at, reason);
	cpm_incident_record_snapshot(&progress->state, reason, blocked, busy, now_us,
								 cpm_monotonic_us() - started_us);
	return true;
}

/* Wake the saver if incidents have changed and it was last woken long enough ago. */
static void
wake_saver(CpmIncidentProgress *progress, int64 now_us)
{
	int64		pause_us = progress->has_urgent ? URGENT_SAVE_US : SAVE_US;

	if (!progress->has_unsaved || now_us - progress->wakeup_us < pause_us)
		return;
	progress->has_unsaved = progress->has_urgent = false;
	progress->wakeup_us = now_us;
	cpm_worker_wake(CPM_WORKER_SAVER);
}

/*
 * Correct the incident's start if the clock was set back since, so that the incident does not seem
 * to end before it began.
 */
static void
correct_start(const CpmIncidentProgress *progress)
{
	TimestampTz started_at = cpm_timestamp_of(progress->state.started_us);

	if (incident.started_at - started_at > USECS_PER_SEC)
		incident.started_at = started_at;
}

/* Record this round in the newest incident. */
static void
record_round(CpmIncidentProgress *progress, const CpmSample *sample, const CpmRoundCounts *counts,
			 CpmIncidentStep step, int64 now_us)
{
	bool		has_changed;

	if (step == CPM_INCIDENT_BEGINS)
		begin_incident(sample->taken_at);
	else
		incident = *cpm_incidents_newest();
	correct_start(progress);
	incident.ended_at = step == CPM_INCIDENT_ENDS ? sample->taken_at : 0;
	has_changed = add_alerts(progress, sample->taken_at) || step != CPM_INCIDENT_CONTINUES;
	add_counts(progress, sample, counts);
	cpm_incidents_update(&incident, sample->taken_at);
	has_changed |= take_due_snapshot(progress, sample, step, now_us);
	progress->has_unsaved = true;
	progress->has_urgent |= has_changed;
}

static void
remember_round(CpmIncidentProgress *progress, uint64 refused, uint64 failed)
{
	memcpy(progress->status, status, sizeof(status));
	progress->refused = refused;
	progress->failed = failed;
}

/*
 * Let the last incident resume if it ended less than a minute ago by the system clock. Alerts
 * survive a restart, so it may continue with the first sample. If it ended earlier, an alert that
 * survives the restart is stale: it begins no incident until its condition is met again. If the
 * clock was set back during the restart, the loader has corrected the times as if the restart had
 * taken no time.
 */
static void
resume_later(CpmIncidentState *state, const CpmIncident *last)
{
	int64		pause_us = GetCurrentTimestamp() - last->ended_at;

	if (pause_us < 0 || pause_us >= CPM_INCIDENT_PAUSE_US)
		return;
	state->ended_us = Max(cpm_monotonic_us() - pause_us, 0);
	state->started_us = state->ended_us - (last->ended_at - last->started_at);
}

void
cpm_incidents_start(bool has_crashed)
{
	CpmIncidentProgress *progress = cpm_incidents_progress();

	cpm_incidents_loaded(has_crashed);
	cpm_incident_state_init(&progress->state);
	if (cpm_incidents_newest() != NULL)
		resume_later(&progress->state, cpm_incidents_newest());
	(void) cpm_alert_board_get(&board);
	for (int i = 0; i < CPM_METRICS; i++)
		progress->is_stale[i] = progress->state.ended_us < 0 &&
			board.row[i].alert.status != CPM_OK;
	read_statuses(progress, cpm_sample_sources());
	remember_round(progress, cpm_slot_rejections(), cpm_slots_counts().of[CPM_FAILED_QUERIES]);
}

/*
 * Return false if the round must neither continue nor resume the newest incident: if there is
 * none, or if it has ended although the state has an incident in progress.
 */
static bool
is_consistent(const CpmIncidentState *state, const CpmIncident *newest)
{
	return newest != NULL && (!state->is_on || newest->ended_at == 0);
}

void
cpm_incidents_round(const CpmSample *sample, const CpmRoundCounts *counts, int64 now_us)
{
	CpmIncidentProgress *progress = cpm_incidents_progress();
	CpmIncidentStep step;
	bool		has_alert = false;

	(void) cpm_alert_board_get(&board);
	refresh_stale_alerts(progress, sample);
	read_statuses(progress, sample->sources);

	/*
	 * The state and the incidents disagree after a reset. They also disagree if an error ended
	 * the previous sampler after it had changed the state but before it had added the incident;
	 * then the incident begins in this round.
	 */
	if (cpm_incidents_remove_reset() || !is_consistent(&progress->state, cpm_incidents_newest()))
		cpm_incident_state_init(&progress->state);
	for (int i = 0; i < CPM_METRICS; i++)
		has_alert |= status[i] != CPM_OK;
	step = cpm_incident_step(&progress->state, has_alert, counts->refused > progress->refused,
							 now_us);
	if (step != CPM_INCIDENT_NONE)
		record_round(progress, sample, counts, step, now_us);
	wake_saver(progress, now_us);
	remember_round(progress, counts->refused, counts->failed);
}
