/* SPDX-License-Identifier: PostgreSQL */
/*
 * sessions.c
 *		The rows behind the views over sessions: connpool_sessions,
 *		connpool_running_queries, connpool_connection_states, connpool_clients.
 *
 * One function returns all sessions, each redacted for the caller as in pg_stat_activity, and the
 * views filter and group the rows in SQL. The columns by which views filter are computed from the
 * data before redaction. A filtered view therefore shows the same rows to all roles that may read
 * it; only the redacted columns differ.
 */
#include "postgres.h"

#include "base/session.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "live/backends.h"
#include "rules/policy.h"
#include "samples/pooler_state.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(connpool_live_sessions_1_0);

typedef struct SessionListing
{
	ReturnSetInfo *result;
	TimestampTz now;
	CpmAges		ages;
	CpmRow		row;
} SessionListing;

/* Add the name of the PgBouncer that opened the session; NULL if none did or that is unknown. */
static void
add_pooler(CpmRow *row, const CpmSession *session)
{
	/* freshness only distinguishes direct sessions from unknown ones; both are shown as NULL */
	const CpmPoolersFreshness no_freshness = {0};
	int			pooler;

	cpm_row_text(row, cpm_pooling_of(session, &no_freshness, &pooler) == CPM_POOLING_POOLED ?
				 cpm_pooler_state(pooler).name : NULL);
}

/*
 * Add queries, failed_queries, transactions, pooled_by, violations. The counters are NULL for a
 * session without a slot.
 */
static void
add_counters(CpmRow *row, const CpmSession *session, TimestampTz now)
{
	CpmSlotSession slot = {0};
	bool		is_known = cpm_slot_session(session->proc_number, &slot) &&
		slot.pid == session->pid && slot.started_at == session->connected_at;
	const CpmCount shown[] = {CPM_QUERIES, CPM_FAILED_QUERIES, CPM_TRANSACTIONS};

	for (size_t i = 0; i < lengthof(shown); i++)
		cpm_row_int8_if(row, is_known, slot.counts.of[shown[i]]);
	add_pooler(row, session);
	cpm_row_violations(row, is_known ? cpm_session_violations(&slot, session, now) : 0);
}

/* Add the columns that are hidden from roles that may not see the session. */
static void
add_private_columns(SessionListing *listing, const CpmSession *session)
{
	CpmRow	   *row = &listing->row;

	cpm_row_address(row, &session->client_addr);
	cpm_row_state(row, session->state);
	cpm_row_timestamptz(row, session->opened_at);
	cpm_row_age(row, listing->now, session->opened_at);
	cpm_row_age(row, listing->now, session->state_change);
	cpm_row_age(row, listing->now, session->xact_start);
	cpm_row_age(row, listing->now, session->query_start);
	cpm_row_text(row, pgstat_get_wait_event_type(session->wait_event_info));
	cpm_row_text(row, pgstat_get_wait_event(session->wait_event_info));
	cpm_row_int8_if(row, session->queryid != 0, (int64) session->queryid);
	cpm_row_query(row, session->query, session->database);
	add_counters(row, session, listing->now);
}

/*
 * Add the redacted form of the columns of add_private_columns(): ten columns, the query, and the
 * five columns of add_counters().
 */
static void
add_hidden_columns(SessionListing *listing)
{
	for (int i = 0; i < 10; i++)
		cpm_row_null(&listing->row);
	cpm_row_text(&listing->row, CPM_HIDDEN_QUERY);
	for (int i = 0; i < 5; i++)
		cpm_row_null(&listing->row);
}

static void
emit_session_row(const CpmSession *session, void *arg)
{
	SessionListing *listing = arg;
	bool		visible = cpm_may_see(session->role);

	cpm_row_int4(&listing->row, session->pid);
	cpm_row_database(&listing->row, session->database);
	cpm_row_role(&listing->row, session->role);
	cpm_row_text(&listing->row, session->application_name);
	cpm_row_bool(&listing->row, visible);
	cpm_row_bool(&listing->row, cpm_has_long_statement(session, listing->now, &listing->ages));
	if (visible)
		add_private_columns(listing, session);
	else
		add_hidden_columns(listing);
	cpm_row_emit(&listing->row, listing->result);
	pfree(session->query);
}

static bool
is_session_view(const char *name)
{
	static const char *const views[] = {
		"connpool_sessions", "connpool_running_queries", "connpool_connection_states",
		"connpool_clients",
	};

	for (size_t i = 0; i < lengthof(views); i++)
		if (strcmp(name, views[i]) == 0)
			return true;
	return false;
}

/*
 * connpool_live_sessions(for_view text, pass bigint). for_view must be one of the extension's
 * views over sessions: any other relation in the schema may be readable by PUBLIC, and would let
 * every role list the sessions.
 */
Datum
connpool_live_sessions_1_0(PG_FUNCTION_ARGS)
{
	SessionListing listing = {.ages = cpm_settings_ages()};
	const char *view = PG_ARGISNULL(0) ? "(null)" : text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (!is_session_view(view))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a view over sessions", view),
				 errhint("Use the views connpool_sessions, connpool_running_queries, "
						 "connpool_connection_states and connpool_clients.")));
	cpm_require_view(fcinfo, view);
	listing.result = cpm_rows_begin(fcinfo);
	listing.now = GetCurrentTimestamp();
	cpm_backends_scan(CPM_SCAN_QUERIES, emit_session_row, &listing);
	return (Datum) 0;
}
