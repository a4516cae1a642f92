/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.c
 *		The last incidents, with snapshots of the sessions that were open during them.
 *
 * Apart from resets, the sampler is the only writer. A sequence lock guards all incidents and
 * snapshots: readers copy them whole and retry if the sampler changed them meanwhile, so they
 * never see half a snapshot.
 *
 * The rows of all snapshots are in one array without gaps. To remove a snapshot moves the rows
 * behind it, up to 2 MB. That happens only before a snapshot is added, and avoids the fragments
 * that snapshots of different sizes, replaced now and then, would leave.
 *
 * A reset stores the id up to which incidents are hidden. Readers leave these out at once, and the
 * sampler removes them at its next sample.
 */
#include "postgres.h"

#include "base/seqlock.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/incidents.h"

typedef struct IncidentArea
{
	pg_atomic_uint64 last_id;	/* of the newest incident, 0 before the first; the sampler writes */
	uint64		first_id;		/* of the first incident since the server started */
	pg_atomic_uint64 hidden_id; /* hides incidents up to that id; a reset writes it */
	CpmIncidentProgress progress;	/* only the sampler reads and writes it */
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
	cpm_seqlock_write_end(&area->lock);
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
	write_begin();
	if (area->contents.incidents == CPM_INCIDENTS_KEPT)
		remove_oldest_incident(&area->contents);
	area->contents.incidents++;
	*newest_incident() = *incident;
	cpm_seqlock_write_end(&area->lock);
	pg_atomic_write_u64(&area->last_id, (uint64) incident->id);
}

void
cpm_incidents_update(const CpmIncident *incident, TimestampTz at)
{
	int			snapshots = newest_incident()->snapshots;

	write_begin();
	*newest_incident() = *incident;
	newest_incident()->snapshots = snapshots;
	area->contents.last_sample = at;
	cpm_seqlock_write_end(&area->lock);
}

/* Return the index of the snapshot of the newest incident's worst moment; -1 if there is none. */
static int
find_worst(void)
{
	for (int i = area->contents.snapshots - 1; i >= 0; i--)
	{
		const CpmSnapshot *snapshot = &area->contents.snapshot[i];

		if (snapshot->incident != newest_incident()->id)
			break;
		if (snapshot->is_worst)
			return i;
	}
	return -1;
}

bool
cpm_incidents_have_room(bool is_worst)
{
	int			worst = find_worst();

	/* one is reserved for the worst moment, which may be yet to come */
	return is_worst ? worst >= 0 || newest_incident()->snapshots < CPM_INCIDENT_SNAPSHOTS :
		newest_incident()->snapshots - (worst >= 0) < CPM_INCIDENT_SNAPSHOTS - 1;
}

void
cpm_incidents_add_snapshot(TimestampTz at, bool is_worst, const CpmSnapshotRow *row, int rows)
{
	CpmIncidents *contents = &area->contents;
	CpmSnapshot *snapshot;
	int			worst = is_worst ? find_worst() : -1;

	write_begin();
	if (worst >= 0)
		remove_snapshot(contents, worst);
	while (contents->rows + rows > CPM_INCIDENT_ROWS)
		remove_oldest_snapshots(contents);
	snapshot = &contents->snapshot[contents->snapshots++];
	memset(snapshot, 0, sizeof(*snapshot));
	snapshot->incident = newest_incident()->id;
	snapshot->at = at;
	snapshot->is_worst = is_worst;
	snapshot->first_row = contents->rows;
	snapshot->rows = rows;
	memcpy(&contents->row[contents->rows], row, rows * sizeof(CpmSnapshotRow));
	contents->rows += rows;
	newest_incident()->snapshots++;
	cpm_seqlock_write_end(&area->lock);
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
}
