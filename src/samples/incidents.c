/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.c
 *		The last incidents, with snapshots of the sessions that were open during them.
 *
 * Apart from resets, the sampler is the only writer. A sequence lock guards all incidents and
 * snapshots: readers copy them whole and retry if the sampler changed them meanwhile, so they
 * never see half a snapshot.
 *
 * The rows of all snapshots are in one array without gaps. Removing a snapshot moves the rows
 * behind it, up to 2 MB. This is rare: it happens only after a reset, or to make room for another
 * snapshot or incident. Gaps would not fit later snapshots, because their sizes differ.
 *
 * A reset stores the id up to which incidents are hidden. Readers leave these out at once, and the
 * sampler removes them at its next sample.
 */
#include "postgres.h"

#include "base/seqlock.h"
#include "base/set_back.h"
#include "base/stream.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/incidents.h"

/* Whether the file of incidents reflects shared memory. */
typedef enum SaveState
{
	SAVE_DONE,					/* no change since the last save */
	SAVE_NEEDED,
	SAVE_BEGUN					/* no change since the last save began, which may still be
								 * running, or may have failed or been interrupted */
} SaveState;

typedef struct IncidentArea
{
	pg_atomic_uint64 last_id;	/* of the newest incident; 0: there was none; the sampler writes */
	uint64		first_id;		/* id of the first incident since the server started, or the id
								 * that it will have; the postmaster writes it */
	pg_atomic_uint64 hidden_id; /* the highest hidden id; a reset writes it */
	CpmIncidentProgress progress;	/* the sampler's own; the postmaster initializes it */
	pg_atomic_uint32 save_state;	/* a SaveState; the sampler and resets set SAVE_NEEDED, the
									 * saver the others */
	CpmSeqlock	lock;			/* guards contents */
	CpmIncidents contents;		/* the sampler writes */
} IncidentArea;

static IncidentArea *area;

Size
cpm_incidents_size(void)
{
	return sizeof(IncidentArea);
}

void
cpm_incidents_attach(void *memory, bool is_new)
{
	area = memory;
	if (!is_new)
		return;
	memset(area, 0, sizeof(*area));
	pg_atomic_init_u64(&area->last_id, 0);
	area->first_id = 1;
	pg_atomic_init_u64(&area->hidden_id, 0);
	pg_atomic_init_u32(&area->save_state, SAVE_DONE);
	cpm_seqlock_init(&area->lock);
}

/* Remove a snapshot and its rows. */
static void
remove_snapshot(CpmIncidents *contents, int index)
{
	CpmSnapshot *snapshot = &contents->snapshot[index];
	int			rows = snapshot->rows;
	int			next_row = snapshot->first_row + rows;

	for (int i = 0; i < contents->incidents; i++)
		contents->incident[i].snapshots -= contents->incident[i].id == snapshot->incident;
	memmove(&contents->row[snapshot->first_row], &contents->row[next_row],
			(contents->rows - next_row) * sizeof(CpmSnapshotRow));
	contents->rows -= rows;
	contents->snapshots--;
	memmove(snapshot, snapshot + 1, (contents->snapshots - index) * sizeof(CpmSnapshot));
	for (int i = index; i < contents->snapshots; i++)
		contents->snapshot[i].first_row -= rows;
}

/* Remove all snapshots of the oldest incident that has any. */
static void
remove_oldest_snapshots(CpmIncidents *contents)
{
	int64		oldest = contents->snapshot[0].incident;

	while (contents->snapshots > 0 && contents->snapshot[0].incident == oldest)
		remove_snapshot(contents, 0);
}

static void
remove_oldest_incident(CpmIncidents *contents)
{
	if (contents->snapshots > 0 && contents->snapshot[0].incident == contents->incident[0].id)
		remove_oldest_snapshots(contents);
	contents->incidents--;
	memmove(&contents->incident[0], &contents->incident[1],
			contents->incidents * sizeof(CpmIncident));
}

/* Remove the incidents that were reset; returns true if there were any. */
static bool
remove_hidden(CpmIncidents *contents)
{
	int64		hidden = (int64) pg_atomic_read_u64(&area->hidden_id);
	bool		found = false;

	while (contents->incidents > 0 && contents->incident[0].id <= hidden)
	{
		remove_oldest_incident(contents);
		found = true;
	}
	return found;
}

static void
write_begin(void)
{
	cpm_seqlock_repair(&area->lock);	/* the previous sampler may have died while it wrote */
	cpm_seqlock_write_begin(&area->lock);
}

static void
write_end(void)
{
	cpm_seqlock_write_end(&area->lock);
	pg_atomic_write_u32(&area->save_state, SAVE_NEEDED);
}

CpmIncidentProgress *
cpm_incidents_progress(void)
{
	return &area->progress;
}

bool
cpm_incidents_remove_reset(void)
{
	bool		found;

	if (area->contents.incidents == 0 ||
		area->contents.incident[0].id > (int64) pg_atomic_read_u64(&area->hidden_id))
		return false;
	write_begin();
	found = remove_hidden(&area->contents);
	write_end();
	return found;
}

static CpmIncident *
newest_incident(void)
{
	return &area->contents.incident[area->contents.incidents - 1];
}

const CpmIncident *
cpm_incidents_newest(void)
{
	return area->contents.incidents > 0 ? newest_incident() : NULL;
}

void
cpm_incidents_begin(CpmIncident *incident)
{
	incident->id = (int64) pg_atomic_read_u64(&area->last_id) + 1;
	/* set last_id first, so that the saver never writes an incident with a lower last_id */
	pg_atomic_write_u64(&area->last_id, (uint64) incident->id);
	write_begin();
	if (area->contents.incidents == CPM_INCIDENTS_KEPT)
		remove_oldest_incident(&area->contents);
	area->contents.incidents++;
	*newest_incident() = *incident;
	write_end();
}

void
cpm_incidents_update(const CpmIncident *incident, TimestampTz at)
{
	int			snapshots = newest_incident()->snapshots;

	write_begin();
	*newest_incident() = *incident;
	newest_incident()->snapshots = snapshots;
	area->contents.last_sample = at;
	write_end();
}

/*
 * Return the index of the newest incident's last snapshot that was taken for that reason; -1 if
 * there is none. Skips the incident's first snapshot, unless it is that of the worst moment.
 */
static int
find_last(CpmSnapshotReason reason)
{
	const CpmIncidents *contents = &area->contents;
	int			first = contents->snapshots - newest_incident()->snapshots;

	for (int i = contents->snapshots - 1; i >= first; i--)
		if (contents->snapshot[i].reason == (uint32) reason &&
			(i > first || reason == CPM_AT_WORST))
			return i;
	return -1;
}

bool
cpm_incident_has_room_for(CpmSnapshotReason reason)
{
	bool		has_worst = find_last(CPM_AT_WORST) >= 0;
	int			others = newest_incident()->snapshots - has_worst;

	if (reason == CPM_AT_WORST)
		return has_worst || others < CPM_INCIDENT_SNAPSHOTS;
	/* reserve room for a snapshot of the worst moment, which may still follow */
	return others < CPM_INCIDENT_SNAPSHOTS - 1 ||
		(reason == CPM_AT_CRITICAL && find_last(CPM_AT_WARNING) >= 0);
}

/* Return the index of the snapshot that the next one replaces; -1 if it replaces none. */
static int
find_replaced(CpmSnapshotReason reason)
{
	int			last_warning;

	if (reason == CPM_AT_WORST)
		return find_last(CPM_AT_WORST);
	/* the caller has checked that there is room, unless this is a rise to CRITICAL */
	if (cpm_incident_has_room_for(CPM_AT_WARNING))
		return -1;
	last_warning = find_last(CPM_AT_WARNING);
	return last_warning >= 0 ? last_warning : find_last(CPM_AT_CRITICAL);
}

void
cpm_incidents_add_snapshot(TimestampTz at, CpmSnapshotReason reason, const CpmSnapshotRow *row,
						   int rows)
{
	CpmIncidents *contents = &area->contents;
	CpmSnapshot *snapshot;
	int			replaced = find_replaced(reason);

	write_begin();
	if (replaced >= 0)
		remove_snapshot(contents, replaced);
	while (contents->rows + rows > CPM_INCIDENT_ROWS)
		remove_oldest_snapshots(contents);
	snapshot = &contents->snapshot[contents->snapshots++];
	memset(snapshot, 0, sizeof(*snapshot));
	snapshot->incident = newest_incident()->id;
	snapshot->at = at;
	snapshot->reason = reason;
	snapshot->first_row = contents->rows;
	snapshot->rows = rows;
	memcpy(&contents->row[contents->rows], row, rows * sizeof(CpmSnapshotRow));
	contents->rows += rows;
	newest_incident()->snapshots++;
	write_end();
}

static void
correct_incident(CpmIncident *incident, TimestampTz now, int64 setback_us)
{
	incident->started_at = cpm_past(incident->started_at, now, setback_us);
	/* the start may remain as recorded, so the corrected end may be before it */
	if (incident->ended_at != 0)
		incident->ended_at = Max(cpm_past(incident->ended_at, now, setback_us),
								 incident->started_at);
	for (int i = 0; i < incident->changes; i++)
		incident->change[i].at = cpm_past(incident->change[i].at, now, setback_us);
}

void
cpm_incidents_correct_times(TimestampTz now, int64 setback_us)
{
	CpmIncidents *contents = &area->contents;

	write_begin();
	contents->last_sample = cpm_past(contents->last_sample, now, setback_us);
	for (int i = 0; i < contents->incidents; i++)
		correct_incident(&contents->incident[i], now, setback_us);
	for (int i = 0; i < contents->snapshots; i++)
		contents->snapshot[i].at = cpm_past(contents->snapshot[i].at, now, setback_us);
	write_end();
}

CpmIncidents *
cpm_incidents_read(bool with_snapshots)
{
	Size		size = with_snapshots ? sizeof(CpmIncidents) : offsetof(CpmIncidents, snapshot);
	CpmIncidents *copy = palloc(size);

	if (!cpm_seqlock_copy(&area->lock, copy, &area->contents, size))
		return NULL;
	if (!with_snapshots)
		copy->snapshots = copy->rows = 0;
	(void) remove_hidden(copy);
	return copy;
}

uint64
cpm_incidents_begun(void)
{
	return pg_atomic_read_u64(&area->last_id) + 1 - area->first_id;
}

void
cpm_incidents_reset(void)
{
	pg_atomic_write_u64(&area->hidden_id, pg_atomic_read_u64(&area->last_id));
	/* a saver that sees SAVE_NEEDED must see hidden_id too */
	pg_write_barrier();
	pg_atomic_write_u32(&area->save_state, SAVE_NEEDED);
}

void
cpm_incidents_loaded(bool skip_id)
{
	CpmIncidents *contents = &area->contents;
	uint64		last_id = pg_atomic_read_u64(&area->last_id);
	int			rows = 0;

	if (skip_id && last_id > 0)
		last_id++;
	pg_atomic_write_u64(&area->last_id, last_id);
	area->first_id = last_id + 1;
	for (int i = 0; i < contents->snapshots; i++)
	{
		contents->snapshot[i].first_row = rows;
		rows += contents->snapshot[i].rows;
	}
	if (rows != contents->rows)
		contents->snapshots = contents->rows = 0;
	for (int i = 0; i < contents->incidents; i++)
	{
		CpmIncident *incident = &contents->incident[i];

		incident->snapshots = 0;
		for (int j = 0; j < contents->snapshots; j++)
			incident->snapshots += contents->snapshot[j].incident == incident->id;
	}
}

/*
 * A record of the file. All parts are written from one copy, so that they agree with each other.
 * Changes of alerts are records of their own, because the loader can renumber only one metric in a
 * record.
 */
typedef struct SavedChange
{
	int64		incident;		/* its id */
	CpmIncidentChange change;
} SavedChange;

static CpmIncidents *saved;		/* the copy, while the file is written */

bool
cpm_incidents_save_begin(void)
{
	uint32		state = SAVE_NEEDED;

	if (!pg_atomic_compare_exchange_u32(&area->save_state, &state, SAVE_BEGUN) &&
		state == SAVE_DONE)
		return false;
	saved = cpm_incidents_read(true);
	return saved != NULL;
}

void
cpm_incidents_save_end(bool is_saved)
{
	uint32		state = SAVE_BEGUN;

	pfree(saved);
	/* leave the state if the incidents have changed meanwhile */
	if (is_saved)
		(void) pg_atomic_compare_exchange_u32(&area->save_state, &state, SAVE_DONE);
}

static void
save_id(CpmSink *sink)
{
	uint64		last_id = pg_atomic_read_u64(&area->last_id);

	cpm_put(sink, &last_id);
}

static void
load_id(const void *record)
{
	pg_atomic_write_u64(&area->last_id, Max(pg_atomic_read_u64(&area->last_id),
											*(const uint64 *) record));
}

const CpmFilePart cpm_incident_id_part = {
	"incident id", sizeof(uint64), .save = save_id, .load = load_id
};

static void
save_incidents(CpmSink *sink)
{
	for (int i = 0; i < saved->incidents; i++)
	{
		CpmIncident *incident = &saved->incident[i];

		/*
		 * Save an incident in progress as one that ended with its last sample, because that will
		 * be true when the file is loaded. If it has only just begun, last_sample is still that
		 * of an earlier incident, or 0.
		 */
		if (incident->ended_at == 0)
			incident->ended_at = Max(saved->last_sample, incident->started_at);
		cpm_put(sink, incident);
	}
}

static void
load_incident(const void *record)
{
	if (area->contents.incidents == CPM_INCIDENTS_KEPT)
		return;
	area->contents.incidents++;
	memcpy(newest_incident(), record, offsetof(CpmIncident, changes));
	/* the loader writes 0xFF for each metric that is missing from the file */
	for (int i = 0; i < CPM_METRICS; i++)
		if (newest_incident()->order[i] == PG_UINT8_MAX)
			newest_incident()->order[i] = 0;
}

const CpmFilePart cpm_incidents_part = {
	"incidents", offsetof(CpmIncident, order), .save = save_incidents, .load = load_incident,
	.text = {CPM_TEXT(CpmIncident, message)},
	.below = {CPM_BELOW(CpmIncident, status, CPM_CRITICAL + 1)},
	.time = {CPM_TIME(CpmIncident, started_at), CPM_TIME(CpmIncident, ended_at)},
	.cell = sizeof(uint8)
};

static void
save_changes(CpmSink *sink)
{
	for (int i = 0; i < saved->incidents; i++)
		for (int j = 0; j < saved->incident[i].changes; j++)
		{
			SavedChange change = {.incident = saved->incident[i].id};

			memcpy(&change.change, &saved->incident[i].change[j], sizeof(change.change));
			cpm_put(sink, &change);
		}
}

static void
load_change(const void *record)
{
	const SavedChange *change = record;

	for (int i = 0; i < area->contents.incidents; i++)
	{
		CpmIncident *incident = &area->contents.incident[i];

		if (incident->id == change->incident && incident->changes < CPM_INCIDENT_CHANGES)
			incident->change[incident->changes++] = change->change;
	}
}

const CpmFilePart cpm_incident_changes_part = {
	"incident changes", sizeof(SavedChange), .save = save_changes, .load = load_change,
	.below = {CPM_BELOW(SavedChange, change.from_status, CPM_CRITICAL + 1),
	CPM_BELOW(SavedChange, change.to_status, CPM_CRITICAL + 1)},
	.time = {CPM_TIME(SavedChange, change.at)},
	.metric = offsetof(SavedChange, change.metric)
};

static void
save_incident_snapshots(CpmSink *sink)
{
	for (int i = 0; i < saved->snapshots; i++)
		cpm_put(sink, &saved->snapshot[i]);
}

static void
load_incident_snapshot(const void *record)
{
	CpmIncidents *contents = &area->contents;

	if (contents->snapshots < (int) lengthof(contents->snapshot))
		memcpy(&contents->snapshot[contents->snapshots++], record, sizeof(CpmSnapshot));
}

const CpmFilePart cpm_snapshots_part = {
	"incident snapshots", sizeof(CpmSnapshot),
	.save = save_incident_snapshots, .load = load_incident_snapshot,
	.below = {CPM_BELOW(CpmSnapshot, rows, CPM_SNAPSHOT_ROWS + 1),
	CPM_BELOW(CpmSnapshot, reason, CPM_SNAPSHOT_REASONS)},
	.time = {CPM_TIME(CpmSnapshot, at)}
};

static void
save_snapshot_rows(CpmSink *sink)
{
	for (int i = 0; i < saved->rows; i++)
		cpm_put(sink, &saved->row[i]);
}

static void
load_snapshot_row(const void *record)
{
	CpmIncidents *contents = &area->contents;

	if (contents->rows < CPM_INCIDENT_ROWS)
		memcpy(&contents->row[contents->rows++], record, sizeof(CpmSnapshotRow));
}

const CpmFilePart cpm_snapshot_rows_part = {
	"incident sessions", sizeof(CpmSnapshotRow),
	.save = save_snapshot_rows, .load = load_snapshot_row,
	.text = {CPM_TEXT(CpmSnapshotRow, application_name),
	CPM_TEXT(CpmSnapshotRow, wait_event_type), CPM_TEXT(CpmSnapshotRow, wait_event)},
	.below = {CPM_BELOW(CpmSnapshotRow, state, CPM_STATES)}
};
