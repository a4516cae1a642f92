/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_statements_view.c
 *		connpool_slow_statements: the last slow statements, with their normalized text from
 *		pg_stat_statements.
 *
 * The names of database and role are those at login. The text is looked up by their OIDs, and the
 * OID of the role decides whether the caller may see it (functions/access.h), because another
 * database or role may have such a name by now. If the caller may not see the text, queryid and
 * text are hidden. See functions/query_texts.h for the cases in which the text is NULL.
 */
#include "postgres.h"

#include "events/slow_statements.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/query_texts.h"
#include "functions/rows.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(connpool_slow_statements_1_0);

typedef struct SlowListing
{
	ReturnSetInfo *result;
	HTAB	   *texts;			/* of the statements to show */
	CpmRow		row;
} SlowListing;

static void
request_text(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;

	cpm_query_texts_request(listing->texts, slow->database, slow->role, slow->queryid);
}

static void
emit_slow_statement(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	CpmRow	   *row = &listing->row;

	/* as in pg_stat_statements, hide queryid and text, but not the role, from other roles */
	bool		is_visible = cpm_may_see(slow->role);

	cpm_row_past_time(row, slow->finished_at);
	cpm_row_text(row, slow->session.database);
	cpm_row_text(row, slow->session.role);
	cpm_row_text(row, slow->session.application_name);
	cpm_row_float8(row, (double) slow->elapsed_us / 1000);
	cpm_row_int8_if(row, slow->queryid != 0 && is_visible, (int64) slow->queryid);
	cpm_row_text(row, slow->sqlstate ? unpack_sql_state(slow->sqlstate) : "00000");
	cpm_row_query(row, is_visible ? cpm_query_text(listing->texts, slow->database, slow->role,
												   slow->queryid) : CPM_HIDDEN_QUERY,
				  slow->database);
	cpm_row_emit(row, listing->result);
}

/*
 * Columns: finished_at, database, role, application_name, elapsed_time, queryid, sqlstate, query.
 */
Datum
connpool_slow_statements_1_0(PG_FUNCTION_ARGS)
{
	SlowListing listing = {0};

	listing.result = cpm_view_begin(fcinfo, "connpool_slow_statements");
	listing.texts = cpm_query_texts_create();
	cpm_slow_statements_scan(request_text, &listing);
	cpm_query_texts_read(listing.texts);
	cpm_slow_statements_scan(emit_slow_statement, &listing);
	return (Datum) 0;
}
