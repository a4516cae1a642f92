/* SPDX-License-Identifier: PostgreSQL */
/*
 * leaks_view.c
 *		connpool_leaks: sessions and prepared transactions that look forgotten.
 *		connpool_leak_log: former suspects. connpool_leak_stats: totals by kind.
 */
#include "postgres.h"

#include <limits.h>

#include "base/pool.h"
#include "base/session.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "counters/pool_counters.h"
#include "counters/pool_table.h"
#include "events/leak_log.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/held_locks.h"
#include "functions/rows.h"
#include "functions/session_list.h"
#include "live/lock_waits.h"
#include "live/prepared_xacts.h"
#include "rules/leaks.h"
#include "rules/lock_chains.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(connpool_leaks_1_0);
PG_FUNCTION_INFO_V1(connpool_leak_log_1_0);
PG_FUNCTION_INFO_V1(connpool_leak_stats_1_0);

typedef struct LeakListing
{
	ReturnSetInfo *result;
	TimestampTz now;
	CpmAges		ages;
	CpmLockWait *waits;
	int			wait_count;
	LockData   *locks;			/* cache of cpm_session_held_locks() */
	CpmRow		row;
} LeakListing;

/*
 * Return true if a statement is running. An active session has no running statement while it waits
 * for the next message of the extended protocol, unless it runs COPY, which reads messages, too.
 */
static bool
runs_statement(const CpmSession *session)
{
	return cpm_is_active(session) &&
		(session->wait_event_info != WAIT_EVENT_CLIENT_READ || session->copied_bytes >= 0);
}

/*
 * Add the number of statements since the session connected, including the one that runs now.
 * 0 means that the session was never used; NULL, that it has no slot and is not counted.
 */
static void
add_queries(CpmRow *row, const CpmSession *session)
{
	CpmSlotSession slot = {0};
	bool		is_counted = cpm_slot_session(session->proc_number, &slot) &&
		slot.pid == session->pid && slot.started_at == session->connected_at;

	cpm_row_int8_if(row, is_counted,
					(int64) slot.counts.of[CPM_QUERIES] + runs_statement(session));
}

static void
emit_session(LeakListing *listing, CpmLeakKind kind, const CpmSession *session)
{
	CpmRow	   *row = &listing->row;
	bool		visible = cpm_may_see(session->role);

	cpm_row_text(row, cpm_leak_kind_name(kind));
	cpm_row_int4(row, session->pid);
	cpm_row_database(row, session->database);
	cpm_row_role(row, session->role);
	cpm_row_text(row, session->application_name);
	if (visible)
	{
		cpm_row_address(row, &session->client_addr);
		cpm_row_state(row, session->state);
	}
	else
	{
		cpm_row_null(row);
		cpm_row_null(row);
	}
	cpm_row_age(row, listing->now, visible ? cpm_suspect_since(session) : 0);
	cpm_row_age(row, listing->now, visible ? session->xact_start : 0);
	cpm_row_int4(row, cpm_count_blocked_sessions(listing->waits, listing->wait_count,
												 cpm_waits_for_pid, &session->pid));
	cpm_row_query(row, visible ? session->query : CPM_HIDDEN_QUERY, session->database);
	if (visible)
		add_queries(row, session);
	else
		cpm_row_null(row);
	cpm_row_text(row, visible ? cpm_session_held_locks(&listing->locks, session) : NULL);
	cpm_row_emit(row, listing->result);
}

/*
 * Return true if the prepared transaction blocks the wait, or may block it. The pid of the blocker
 * does not identify it, because all prepared transactions have pid 0. A session that waits for a
 * row waits for a transaction id, which identifies the blocker. A wait for any other lock counts
 * for every prepared transaction.
 */
static bool
waits_for_prepared(const CpmLockWait *wait, const void *arg)
{
	static const int prepared_pid = 0;
	const CpmPrepared *prepared = arg;

	if (!cpm_waits_for_pid(wait, &prepared_pid))
		return false;
	return wait->lock.locktag_type != LOCKTAG_TRANSACTION ||
		wait->lock.locktag_field1 == prepared->xid;
}

static void
emit_prepared(LeakListing *listing, const CpmPrepared *prepared)
{
	CpmRow	   *row = &listing->row;
	bool		visible = cpm_may_see(prepared->owner);

	cpm_row_text(row, cpm_leak_kind_name(CPM_LEAK_PREPARED));
	cpm_row_null(row);			/* no process */
	cpm_row_database(row, prepared->database);
	cpm_row_role(row, prepared->owner);
	cpm_row_null(row);			/* no application name */
	cpm_row_null(row);			/* no address */
	cpm_row_text(row, visible ? "prepared" : NULL);
	/* held and xact_age are the same, because the time before PREPARE is not recorded */
	cpm_row_age(row, listing->now, visible ? prepared->prepared_at : 0);
	cpm_row_age(row, listing->now, visible ? prepared->prepared_at : 0);

	cpm_row_int4(row, cpm_count_blocked_sessions(listing->waits, listing->wait_count,
												 waits_for_prepared, prepared));
	cpm_row_text(row, visible ? psprintf("PREPARE TRANSACTION %s",
										 quote_literal_cstr(prepared->gid)) : CPM_HIDDEN_QUERY);
	cpm_row_null(row);			/* no statements */
	cpm_row_text(row, visible ? cpm_prepared_xact_held_locks(&listing->locks, prepared) : NULL);
	cpm_row_emit(row, listing->result);
}

/*
 * Return when the session's pool last opened a session: the time in the pool table or, if later,
 * newest_connected, the start of the newest session that is still connected. Returns 0 (unknown)
 * for "(other)", whose sessions belong to different applications.
 */
static TimestampTz
pool_last_opened(const CpmSession *session, TimestampTz newest_connected)
{
	int			pool = cpm_slot_pool(session->proc_number, session->pid);

	if (pool == CPM_OTHER_POOL)
		return 0;
	return pool < 0 ? newest_connected : Max(newest_connected, cpm_pool_last_opened(pool));
}

static void
emit_leaked_sessions(LeakListing *listing)
{
	CpmSessionList sessions = cpm_session_list();
	TimestampTz *newest = palloc((sessions.count + 1) * sizeof(TimestampTz));
	char	   *applications = palloc((sessions.count + 1) * NAMEDATALEN);

	/* cpm_newest_of_pools() identifies pools by pool_application, and reorders the sessions */
	for (int i = 0; i < sessions.count; i++)
	{
		sessions.session[i].pool_application = applications + i * NAMEDATALEN;
		cpm_pool_application(applications + i * NAMEDATALEN, sessions.session[i].application_name,
							 cpm_application_grouping);
	}
	cpm_newest_of_pools(sessions.session, sessions.count, newest);
	for (int i = 0; i < sessions.count; i++)
	{
		const CpmSession *session = &sessions.session[i];
		CpmLeakKind kind = cpm_leak_kind(session, pool_last_opened(session, newest[i]),
										 cpm_slot_has_idle_reason(session->proc_number,
																  session->pid),
										 listing->now, &listing->ages);

		if (kind != CPM_NO_LEAK)
			emit_session(listing, kind, session);
	}
}

/*
 * Columns: kind, pid, database, role, application_name, client_addr, state, held, xact_age,
 * blocks, query, queries, holds.
 */
Datum
connpool_leaks_1_0(PG_FUNCTION_ARGS)
{
	LeakListing listing = {.ages = cpm_settings_ages()};
	CpmPrepared *prepared;
	int			prepared_count;

	cpm_require_view(fcinfo, "connpool_leaks");
	listing.result = cpm_rows_begin(fcinfo);
	listing.now = GetCurrentTimestamp();
	listing.wait_count = cpm_lock_waits(INT_MAX, &listing.waits);

	emit_leaked_sessions(&listing);
	prepared_count = cpm_prepared_xacts_list(&prepared);
	for (int i = 0; i < prepared_count; i++)
		if (cpm_is_leaked_prepared(&prepared[i], listing.now, &listing.ages))
			emit_prepared(&listing, &prepared[i]);
	return (Datum) 0;
}

static void
emit_leak_end(const void *entry, void *arg)
{
	const CpmLeakEnd *leak = entry;
	bool		visible = cpm_may_see(leak->role);
	CpmRow		row = {0};

	cpm_row_past_time(&row, leak->at);
	cpm_row_text(&row, cpm_leak_kind_name(leak->kind));
	cpm_row_text(&row, leak->was_released ? "released" : "ended");
	cpm_row_int4_if(&row, leak->pid != 0, leak->pid);
	cpm_row_database(&row, leak->database);
	cpm_row_role(&row, leak->role);
	cpm_row_text(&row, leak->pid != 0 ? leak->application_name : NULL);
	if (visible)
		cpm_row_interval(&row, leak->held_us / 1000);
	else
		cpm_row_null(&row);
	cpm_row_emit(&row, arg);
}

/* Columns: at, kind, outcome, pid, database, role, application_name, held. Newest row first. */
Datum
connpool_leak_log_1_0(PG_FUNCTION_ARGS)
{
	cpm_leak_log_scan(emit_leak_end, cpm_view_begin(fcinfo, "connpool_leak_log"));
	return (Datum) 0;
}

/* Columns: kind, suspects, detected, released, ended, last_detected, longest_held. */
Datum
connpool_leak_stats_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_leak_stats");
	CpmRow		row = {0};

	for (CpmLeakKind kind = CPM_NO_LEAK + 1; kind < CPM_LEAK_KINDS; kind++)
	{
		CpmLeakCounts counts = cpm_leak_counts(kind);

		cpm_row_text(&row, cpm_leak_kind_name(kind));
		cpm_row_int4(&row, cpm_open_leaks(kind));
		cpm_row_int8(&row, (int64) counts.detected);
		cpm_row_int8(&row, (int64) counts.released);
		cpm_row_int8(&row, (int64) counts.ended);
		cpm_row_past_time(&row, counts.last_detected);
		if (counts.released + counts.ended == 0)
			cpm_row_null(&row);
		else
			cpm_row_interval(&row, counts.longest_us / 1000);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}
