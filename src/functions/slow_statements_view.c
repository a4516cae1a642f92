/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_statements_view.c
 *		connpool_slow_statements: the last statements that were slow, with their
 *		normalised text out of pg_stat_statements.
 *
 * Where that is not loaded, not created in this database, or has forgotten the
 * statement, the text is NULL; what the caller may not see, it hides itself.
 */
#include "postgres.h"

#include "base/settings.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "events/slow_statements.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "functions/statement_rows.h"
#include "functions/statements_source.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(connpool_slow_statements_1_0);

/*
 * A queryid identifies a statement only within its database: databases created from the same
 * template give one queryid to different statements. Prefer the text recorded for the same
 * role. Fall back to that of any role (InvalidOid), because a session that used SET ROLE is
 * recorded by pg_stat_statements under another role.
 */
typedef struct TextKey
{
	uint64		queryid;
	Oid			database;
	Oid			role;
} TextKey;

typedef struct Text
{
	TextKey		key;			/* hash key */
	char	   *query;			/* NULL: wanted and not found */
} Text;

typedef struct SlowListing
{
	ReturnSetInfo *result;
	HTAB	   *texts;
	CpmRow		row;
} SlowListing;

static TextKey
key_of(const CpmSlowStatement *slow)
{
	TextKey		key = {
		.queryid = slow->queryid,
		.database = get_database_oid(slow->session.database, true),
		.role = get_role_oid(slow->session.role, true),
	};

	return key;
}

/* The entry for that key, or for the same with any role; NULL if neither is wanted. */
static Text *
find_text(HTAB *texts, TextKey key, bool any_role)
{
	if (any_role)
		key.role = InvalidOid;
	return hash_search(texts, &key, HASH_FIND, NULL);
}

static void
want_text(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	TextKey		key = key_of(slow);

	if (slow->queryid == 0 || !OidIsValid(key.database))
		return;
	for (int i = 0; i < 2; i++)
	{
		bool		found;
		Text	   *text = hash_search(listing->texts, &key, HASH_ENTER, &found);

		if (!found)
			text->query = NULL;
		key.role = InvalidOid;
	}
}

static void
find_texts(HTAB *texts, const CpmStatements *statements)
{
	CpmStatementColumns columns = cpm_statement_columns(statements->description);

	for (uint64 i = 0; i < statements->count; i++)
	{
		HeapTuple	tuple = statements->row[i];
		TupleDesc	description = statements->description;
		TextKey		key = {
			.queryid = (uint64) cpm_statement_int8(tuple, description, columns.queryid),
			.database = cpm_statement_oid(tuple, description, columns.dbid),
			.role = cpm_statement_oid(tuple, description, columns.userid),
		};

		/* what the caller may not see has no queryid */
		if (key.queryid == 0)
			continue;
		for (int any_role = 0; any_role <= 1; any_role++)
		{
			Text	   *text = find_text(texts, key, any_role);

			if (text != NULL && text->query == NULL)
				text->query = cpm_statement_text(tuple, description, columns.query);
		}
	}
}

/* Read the texts of all statements that were remembered in one pass over pg_stat_statements. */
static void
read_texts(SlowListing *listing)
{
	HASHCTL		control = {.keysize = sizeof(TextKey), .entrysize = sizeof(Text)};
	CpmStatements statements;

	control.hcxt = CurrentMemoryContext;
	listing->texts = hash_create("connpool_monitor texts", 128, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cpm_slow_statements_scan(want_text, listing);
	if (hash_get_num_entries(listing->texts) == 0 || !cpm_slow_statement_text ||
		!cpm_statements_are_loaded())
		return;
	if (cpm_statements_read(&statements))
		find_texts(listing->texts, &statements);
}

static void
list_statement(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	CpmRow	   *row = &listing->row;
	TextKey		key = key_of(slow);
	Text	   *text = NULL;

	cpm_row_timestamptz(row, slow->finished_at);
	cpm_row_text(row, slow->session.database);
	cpm_row_text(row, slow->session.role);
	cpm_row_text(row, slow->session.application_name);
	cpm_row_float8(row, (double) slow->elapsed_us / 1000);
	/* as in pg_stat_statements: whose statement it was, all may see, but not which */
	if (slow->queryid != 0 && cpm_may_see(key.role))
	{
		text = find_text(listing->texts, key, false);
		if (text == NULL || text->query == NULL)
			text = find_text(listing->texts, key, true);
		cpm_row_int8(row, (int64) slow->queryid);
	}
	else
		cpm_row_null(row);
	cpm_row_text(row, slow->sqlstate ? unpack_sql_state(slow->sqlstate) : "00000");
	cpm_row_query(row, text ? text->query : NULL, key.database);
	cpm_row_emit(row, listing->result);
}

/* finished_at, database, role, application_name, elapsed_time, queryid, sqlstate, query */
Datum
connpool_slow_statements_1_0(PG_FUNCTION_ARGS)
{
	SlowListing listing = {0};

	cpm_require_view(fcinfo, "connpool_slow_statements");
	cpm_require_preloaded("connpool_slow_statements");
	listing.result = cpm_rows_begin(fcinfo);
	read_texts(&listing);
	cpm_slow_statements_scan(list_statement, &listing);
	return (Datum) 0;
}
