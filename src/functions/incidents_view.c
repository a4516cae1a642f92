/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents_view.c
 *		connpool_incidents: the last incidents.
 *		connpool_incident_sessions: the snapshots of sessions that were taken during them.
 *
 * Databases and roles are recorded by OID. Their names are looked up when a row is shown, so they
 * are NULL if the object has been dropped since. A caller without the privilege to see
 * a session gets NULL for its details (functions/access.h).
 */
#include "postgres.h"

#include <netinet/in.h>

#include "base/lock_wait.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/query_texts.h"
#include "functions/rows.h"
#include "rules/catalogue.h"
#include "rules/incidents.h"
#include "rules/lock_chains.h"
#include "samples/incidents.h"

PG_FUNCTION_INFO_V1(connpool_incidents_1_0);
PG_FUNCTION_INFO_V1(connpool_incident_sessions_1_0);

/* Return all incidents; raises an error if the sampler was stopped while it changed them. */
static CpmIncidents *
read_incidents(bool with_snapshots)
{
	CpmIncidents *incidents = cpm_incidents_read(with_snapshots);

	if (incidents == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("incidents cannot be read"),
				 errdetail("The sampler was stopped while it changed them.")));
	return incidents;
}

static void
emit_incident(const CpmIncident *incident, ReturnSetInfo *result)
{
	CpmMetricId ids[CPM_METRICS];
	int			count = cpm_incident_metrics(incident, ids);
	const char *metrics[CPM_METRICS];
	CpmRow		row = {0};

	for (int i = 0; i < count; i++)
		metrics[i] = cpm_catalogue[ids[i]].name;
	cpm_row_int8(&row, incident->id);
	cpm_row_past_time(&row, incident->started_at);
	cpm_row_past_time(&row, incident->ended_at);
	cpm_row_text(&row, cpm_status_name(incident->status));
	cpm_row_text_array(&row, metrics, count);
	cpm_row_text(&row, incident->message);
	cpm_row_int4(&row, (int32) incident->peak_connections);
	cpm_row_int4(&row, (int32) incident->peak_blocked);
	cpm_row_int8(&row, (int64) incident->refused);
	cpm_row_int8(&row, (int64) incident->failed_queries);
	cpm_row_int4(&row, incident->snapshots);
	cpm_row_emit(&row, result);
}

/*
 * Columns: id, started_at, ended_at, status, metrics, message, peak_connections, peak_blocked,
 * refused, failed_queries, snapshots. Newest row first.
 */
Datum
connpool_incidents_1_0(PG_FUNCTION_ARGS)
{
	const CpmIncidents *incidents;
	ReturnSetInfo *result;

	result = cpm_view_begin(fcinfo, "connpool_incidents");
	incidents = read_incidents(false);
	for (int i = incidents->incidents - 1; i >= 0; i--)
		emit_incident(&incidents->incident[i], result);
	return (Datum) 0;
}

typedef struct SnapshotListing
{
	ReturnSetInfo *result;
	const CpmIncidents *incidents;
	HTAB	   *texts;			/* of functions/query_texts */
	CpmRow		row;
} SnapshotListing;

/* Add the address of a client; NULL for a Unix socket and for an unknown address. */
static void
add_address(CpmRow *row, const CpmAddress *address)
{
	SockAddr	client = {.salen = sizeof(client.addr)};

	if (address->bits == 32)
	{
		client.addr.ss_family = AF_INET;
		memcpy(&((struct sockaddr_in *) &client.addr)->sin_addr, address->byte, 4);
	}
	else if (address->bits == 128)
	{
		client.addr.ss_family = AF_INET6;
		memcpy(&((struct sockaddr_in6 *) &client.addr)->sin6_addr, address->byte, 16);
	}
	cpm_row_address(row, &client);
}

/* Add the columns from client_addr to root_blocker for a session that the caller may see. */
static void
add_activity(SnapshotListing *listing, TimestampTz at, const CpmSnapshotRow *session)
{
	CpmRow	   *row = &listing->row;

	add_address(row, &session->client_addr);
	cpm_row_state(row, session->state);
	cpm_row_nonempty_text(row, session->wait_event_type);
	cpm_row_nonempty_text(row, session->wait_event);
	cpm_row_age(row, at, session->state_age_us >= 0 ? at - session->state_age_us : 0);
	cpm_row_age(row, at, session->xact_age_us >= 0 ? at - session->xact_age_us : 0);
	cpm_row_int8_if(row, session->queryid != 0, (int64) session->queryid);
	cpm_row_query(row, cpm_query_text(listing->texts, session->database, session->role,
									  session->queryid), session->database);
	cpm_row_int4_if(row, session->root_blocker != CPM_NO_ROOT_BLOCKER, session->root_blocker);
}

/* Add the same columns for a group, or for a session that the caller may not see. */
static void
add_no_activity(CpmRow *row, const CpmSnapshotRow *session, bool is_visible)
{
	cpm_row_null(row);
	if (is_visible)
		cpm_row_state(row, session->state);
	else
		cpm_row_null(row);
	for (int i = 0; i < 5; i++)
		cpm_row_null(row);
	cpm_row_text(row, session->pid != 0 ? CPM_HIDDEN_QUERY : NULL);
	cpm_row_null(row);
}

static void
emit_snapshot_row(SnapshotListing *listing, const CpmSnapshot *snapshot, int number,
				  const CpmSnapshotRow *session)
{
	CpmRow	   *row = &listing->row;
	bool		is_visible = cpm_may_see(session->role);
	bool		is_group = session->pid == 0;

	cpm_row_int8(row, snapshot->incident);
	cpm_row_int4(row, number);
	cpm_row_past_time(row, snapshot->at);
	cpm_row_int4_if(row, !is_group, session->pid);
	cpm_row_database(row, session->database);
	cpm_row_role(row, session->role);
	/* a group without a database combines several pools, or has sessions without a pool */
	cpm_row_text(row, !is_group || OidIsValid(session->database) ?
				 session->application_name : NULL);
	if (!is_group && is_visible)
		add_activity(listing, snapshot->at, session);
	else
		add_no_activity(row, session, is_visible);
	cpm_row_int4_if(row, !is_group, session->blocks);
	cpm_row_int4(row, session->sessions);
	for (int i = 0; i < CPM_OPENED_SPANS; i++)
	{
		if (is_visible)
			cpm_row_int4(row, session->opened[i]);
		else
			cpm_row_null(row);
	}
	cpm_row_emit(row, listing->result);
}

/* Emit the snapshots of an incident in the order in which they were taken, numbered from 1. */
static void
emit_snapshots(SnapshotListing *listing, const CpmIncident *incident)
{
	const CpmIncidents *incidents = listing->incidents;
	int			number = 0;

	for (int i = 0; i < incidents->snapshots; i++)
	{
		const CpmSnapshot *snapshot = &incidents->snapshot[i];

		if (snapshot->incident != incident->id)
			continue;
		number++;
		for (int row = 0; row < snapshot->rows; row++)
			emit_snapshot_row(listing, snapshot, number,
							  &incidents->row[snapshot->first_row + row]);
	}
}

/*
 * Columns: incident_id, snapshot, at, pid, database, role, application_name, client_addr, state,
 * wait_event_type, wait_event, state_age, xact_age, queryid, query, root_blocker, blocks,
 * sessions, opened_10s, opened_1min, opened_10min. The newest incident first.
 */
Datum
connpool_incident_sessions_1_0(PG_FUNCTION_ARGS)
{
	SnapshotListing listing = {0};

	listing.result = cpm_view_begin(fcinfo, "connpool_incident_sessions");
	listing.incidents = read_incidents(true);
	listing.texts = cpm_query_texts_create();
	for (int i = 0; i < listing.incidents->rows; i++)
	{
		const CpmSnapshotRow *row = &listing.incidents->row[i];

		cpm_query_texts_request(listing.texts, row->database, row->role, row->queryid);
	}
	cpm_query_texts_read(listing.texts);
	for (int i = listing.incidents->incidents - 1; i >= 0; i--)
		emit_snapshots(&listing, &listing.incidents->incident[i]);
	return (Datum) 0;
}
