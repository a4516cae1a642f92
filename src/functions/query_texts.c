/* SPDX-License-Identifier: PostgreSQL */
/*
 * query_texts.c
 *		Looks up the texts of recorded queryids in pg_stat_statements.
 *
 * The extension records queryids and never texts, because literals may be confidential. The
 * normalized texts are read from pg_stat_statements when a view shows them.
 */
#include "postgres.h"

#include "base/settings.h"
#include "functions/query_texts.h"
#include "functions/statement_rows.h"
#include "functions/statements_source.h"

/*
 * The key of a text. It includes the database, because in databases created from the same template
 * different statements can have the same queryid.
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

HTAB *
cpm_query_texts_create(void)
{
	HASHCTL		control = {.keysize = sizeof(TextKey), .entrysize = sizeof(StatementText)};

	control.hcxt = CurrentMemoryContext;
	return hash_create("connpool_monitor texts", 128, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void
cpm_query_texts_request(HTAB *texts, Oid database, Oid role, uint64 queryid)
{
	TextKey		key = {.queryid = queryid, .database = database, .role = role};

	if (queryid == 0 || !OidIsValid(database))
		return;
	for (int i = 0; i < 2; i++)
	{
		bool		found;
		StatementText *text = hash_search(texts, &key, HASH_ENTER, &found);

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
			StatementText *text = hash_search(texts, &key, HASH_FIND, NULL);

			if (text != NULL && text->query == NULL)
				text->query = cpm_statement_text(tuple, description, columns.query);
			key.role = InvalidOid;
		}
	}
}

void
cpm_query_texts_read(HTAB *texts)
{
	CpmStatements statements;

	if (hash_get_num_entries(texts) > 0 && cpm_slow_statement_text &&
		cpm_statements_are_loaded() && cpm_statements_read(&statements))
		fill_texts(texts, &statements);
}

const char *
cpm_query_text(HTAB *texts, Oid database, Oid role, uint64 queryid)
{
	TextKey		key = {.queryid = queryid, .database = database, .role = role};
	const StatementText *text = hash_search(texts, &key, HASH_FIND, NULL);

	if (text == NULL || text->query == NULL)
	{
		key.role = InvalidOid;
		text = hash_search(texts, &key, HASH_FIND, NULL);
	}
	return text ? text->query : NULL;
}
