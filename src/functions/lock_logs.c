/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_logs.c
 *		connpool_lock_log: waits for locks that lasted longer than blocked_age.
 *		connpool_deadlocks: statements that failed because of a deadlock.
 */
#include "postgres.h"

#include "events/deadlocks.h"
#include "events/lock_log.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/query_texts.h"
#include "functions/rows.h"

PG_FUNCTION_INFO_V1(connpool_lock_log_1_0);
PG_FUNCTION_INFO_V1(connpool_deadlocks_1_0);

typedef struct LogListing
{
	ReturnSetInfo *result;
	HTAB	   *texts;			/* of functions/query_texts */
	CpmRow		row;
} LogListing;

/* Add the columns queryid and query, redacted for the caller. */
static void
add_logged_statement(LogListing *listing, Oid database, Oid role, uint64 queryid)
{
	CpmRow	   *row = &listing->row;
	bool		is_visible = cpm_may_see(role);

	cpm_row_int8_if(row, queryid != 0 && is_visible, (int64) queryid);
	cpm_row_query(row, is_visible ? cpm_query_text(listing->texts, database, role, queryid) :
				  CPM_HIDDEN_QUERY, database);
}

/* Scan a log twice: to request the texts of its statements, and to emit its rows. */
static void
list_log(ReturnSetInfo *result, void (*scan) (CpmRingVisitor visit, void *arg),
		 CpmRingVisitor request_texts, CpmRingVisitor emit)
{
	LogListing	listing = {
		.result = result,
		.texts = cpm_query_texts_create(),
	};

	scan(request_texts, &listing);
	cpm_query_texts_read(listing.texts);
	scan(emit, &listing);
}

static void
request_texts_of_wait(const void *entry, void *arg)
{
	const CpmLoggedWait *wait = entry;
	LogListing *listing = arg;

	cpm_query_texts_request(listing->texts, wait->waiter.database, wait->waiter.role,
							wait->waiter.queryid);
	cpm_query_texts_request(listing->texts, wait->root.database, wait->root.role,
							wait->root.queryid);
}

/* Add the columns of the root blocker; only the pid if it is not a client session. */
static void
add_root(LogListing *listing, const CpmLockParty *root)
{
	CpmRow	   *row = &listing->row;
	bool		is_prepared = root->pid == 0;
	bool		is_session = !is_prepared && OidIsValid(root->role);

	cpm_row_int4_if(row, root->pid != CPM_NO_ROOT_BLOCKER, root->pid);
	cpm_row_database(row, root->database);
	cpm_row_role(row, root->role);
	cpm_row_text(row, is_session ? root->application_name : NULL);
	if (is_prepared)
		cpm_row_text(row, "prepared");
	else if (is_session && cpm_may_see(root->role))
		cpm_row_state(row, root->state);
	else
		cpm_row_null(row);
	if (is_session)
		add_logged_statement(listing, root->database, root->role, root->queryid);
	else
	{
		cpm_row_null(row);
		cpm_row_null(row);
	}
}

static void
emit_logged_wait(const void *entry, void *arg)
{
	const CpmLoggedWait *wait = entry;
	const CpmLockParty *waiter = &wait->waiter;
	LogListing *listing = arg;
	CpmRow	   *row = &listing->row;
	bool		is_visible = cpm_may_see(waiter->role);

	cpm_row_past_time(row, is_visible ? wait->started_at : 0);
	if (is_visible)
		cpm_row_interval(row, cpm_logged_waited_us(wait) / 1000);
	else
		cpm_row_null(row);
	cpm_row_text(row, cpm_wait_outcome_name(cpm_logged_outcome(wait)));
	cpm_row_int4(row, waiter->pid);
	cpm_row_database(row, waiter->database);
	cpm_row_role(row, waiter->role);
	cpm_row_text(row, waiter->application_name);
	add_logged_statement(listing, waiter->database, waiter->role, waiter->queryid);
	cpm_row_lock_type(row, &wait->lock);
	cpm_row_lock_mode(row, &wait->lock, wait->mode);
	cpm_row_locked_relation(row, &wait->lock);
	add_root(listing, &wait->root);
	cpm_row_emit(row, listing->result);
}

/*
 * Columns: started_at, waited, outcome, pid, database, role, application_name, queryid, query,
 * lock_type, lock_mode, relation, root_pid, root_database, root_role, root_application_name,
 * root_state, root_queryid, root_query.
 */
Datum
connpool_lock_log_1_0(PG_FUNCTION_ARGS)
{
	list_log(cpm_view_begin(fcinfo, "connpool_lock_log"), cpm_lock_log_scan,
			 request_texts_of_wait, emit_logged_wait);
	return (Datum) 0;
}

static void
request_text_of_deadlock(const void *entry, void *arg)
{
	const CpmDeadlock *deadlock = entry;
	LogListing *listing = arg;

	cpm_query_texts_request(listing->texts, deadlock->database, deadlock->role,
							deadlock->queryid);
}

static void
emit_deadlock(const void *entry, void *arg)
{
	const CpmDeadlock *deadlock = entry;
	LogListing *listing = arg;
	CpmRow	   *row = &listing->row;
	bool		has_detail = deadlock->detail[0] != '\0' && cpm_may_see(deadlock->role);

	cpm_row_past_time(row, deadlock->at);
	cpm_row_database(row, deadlock->database);
	cpm_row_role(row, deadlock->role);
	cpm_row_text(row, deadlock->application_name);
	cpm_row_int4(row, deadlock->pid);
	add_logged_statement(listing, deadlock->database, deadlock->role, deadlock->queryid);
	cpm_row_query(row, has_detail ? deadlock->detail : NULL, deadlock->database);
	cpm_row_emit(row, listing->result);
}

/* Columns: at, database, role, application_name, pid, queryid, query, detail. */
Datum
connpool_deadlocks_1_0(PG_FUNCTION_ARGS)
{
	list_log(cpm_view_begin(fcinfo, "connpool_deadlocks"), cpm_deadlocks_scan,
			 request_text_of_deadlock, emit_deadlock);
	return (Datum) 0;
}
