/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_statements_view.c
 *		connpool_slow_statements: the last slow statements, with their normalized text from
 *		pg_stat_statements.
 *
 * The text is NULL if pg_stat_statements is not preloaded, is not installed in this database or
 * has evicted the statement. pg_stat_statements itself hides texts that the caller may not see.
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
 * The key of a text. It includes the database, because databases created from the same template
 * can give one queryid to different statements.
 *
 * Each statement has two keys: one with its role and one with InvalidOid, which matches any role.
 * The text of the same role is preferred. The other is needed because after SET ROLE
 * pg_stat_statements records statements under another role than the session's.
 *
 * Hashed as bytes, so it must have no padding.
 */
typedef struct TextKey
{
	uint64		queryid;
	Oid			database;
	Oid			role;
} TextKey;

typedef struct StatementText
{
	TextKey		key;			/* hash key */
	char	   *query;			/* NULL until found */
} StatementText;

typedef struct SlowListing
{
	ReturnSetInfo *result;
	HTAB	   *texts;			/* of StatementText: the statements to show */
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

/* Return the entry of the key, with its role or with any role; NULL if there is none. */
static StatementText *
find_text(HTAB *texts, TextKey key, bool any_role)
{
	if (any_role)
		key.role = InvalidOid;
	return hash_search(texts, &key, HASH_FIND, NULL);
}

/* Enter both keys of the statement into the table, without a text. */
static void
request_text(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	TextKey		key = key_of(slow);

	if (slow->queryid == 0 || !OidIsValid(key.database))
		return;
	for (int i = 0; i < 2; i++)
	{
		bool		found;
		StatementText *text = hash_search(listing->texts, &key, HASH_ENTER, &found);

		if (!found)
			text->query = NULL;
		key.role = InvalidOid;
	}
}

/* Set the texts of the keys in the table from the rows of pg_stat_statements. */
static void
fill_texts(HTAB *texts, const CpmStatements *statements)
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

		/* the queryid is NULL if the caller may not see the statement */
		if (key.queryid == 0)
			continue;
		for (int any_role = 0; any_role <= 1; any_role++)
		{
			StatementText *text = find_text(texts, key, any_role);

			if (text != NULL && text->query == NULL)
				text->query = cpm_statement_text(tuple, description, columns.query);
		}
	}
}

/* Build the table of texts of all logged statements, in one pass over pg_stat_statements. */
static void
read_texts(SlowListing *listing)
{
	HASHCTL		control = {.keysize = sizeof(TextKey), .entrysize = sizeof(StatementText)};
	CpmStatements statements;

	control.hcxt = CurrentMemoryContext;
	listing->texts = hash_create("connpool_monitor texts", 128, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cpm_slow_statements_scan(request_text, listing);
	if (hash_get_num_entries(listing->texts) == 0 || !cpm_slow_statement_text ||
		!cpm_statements_are_loaded())
		return;
	if (cpm_statements_read(&statements))
		fill_texts(listing->texts, &statements);
}

static void
emit_slow_statement(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	CpmRow	   *row = &listing->row;
	TextKey		key = key_of(slow);
	StatementText *text = NULL;

	cpm_row_timestamptz(row, slow->finished_at);
	cpm_row_text(row, slow->session.database);
	cpm_row_text(row, slow->session.role);
	cpm_row_text(row, slow->session.application_name);
	cpm_row_float8(row, (double) slow->elapsed_us / 1000);
	/* as in pg_stat_statements, hide queryid and text, but not the role, from other roles */
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

/*
 * Columns: finished_at, database, role, application_name, elapsed_time, queryid, sqlstate, query.
 */
Datum
connpool_slow_statements_1_0(PG_FUNCTION_ARGS)
{
	SlowListing listing = {0};

	listing.result = cpm_view_begin(fcinfo, "connpool_slow_statements");
	read_texts(&listing);
	cpm_slow_statements_scan(emit_slow_statement, &listing);
	return (Datum) 0;
}
