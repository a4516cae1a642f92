/*
 * slow_statements_view.c
 *		connpool_slow_statements: the last statements that were slow, with their
 *		normalised text out of pg_stat_statements.
 *
 * Where that is not loaded, not created in this database, or has forgotten the
 * statement, the text is NULL; what the caller may not see, it hides itself.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "serve/access.h"
#include "serve/rows.h"
#include "serve/statements_source.h"
#include "store/slow_statements.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(connpool_slow_statements_1_0);

typedef struct Text
{
	uint64		queryid;		/* hash key */
	char	   *query;			/* NULL: wanted and not found */
} Text;

typedef struct SlowListing
{
	ReturnSetInfo *result;
	HTAB	   *texts;
	CpmRow		row;
} SlowListing;

static void
want_text(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	bool		found;
	Text	   *text;

	if (slow->queryid == 0)
		return;
	text = hash_search(listing->texts, &slow->queryid, HASH_ENTER, &found);
	if (!found)
		text->query = NULL;
}

static void
find_texts(SlowListing *listing, MemoryContext context)
{
	int			queryid = SPI_fnumber(SPI_tuptable->tupdesc, "queryid");
	int			query = SPI_fnumber(SPI_tuptable->tupdesc, "query");

	for (uint64 i = 0; queryid > 0 && query > 0 && i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		uint64		id = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, queryid, &isnull));
		Text	   *text = isnull ? NULL : hash_search(listing->texts, &id, HASH_FIND, NULL);
		char	   *value;

		if (text == NULL || text->query != NULL)
			continue;
		value = SPI_getvalue(tuple, SPI_tuptable->tupdesc, query);
		if (value != NULL)
			text->query = MemoryContextStrdup(context, value);
	}
}

/* Texts of all statements that were remembered, in one look at pg_stat_statements. */
static void
read_texts(SlowListing *listing)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(Text)};
	MemoryContext context = CurrentMemoryContext;

	control.hcxt = context;
	listing->texts = hash_create("connpool_monitor texts", 128, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cpm_slow_statements_scan(want_text, listing);
	if (hash_get_num_entries(listing->texts) == 0 || !cpm_statements_are_loaded())
		return;
	SPI_connect();
	if (cpm_statements_read())
		find_texts(listing, context);
	SPI_finish();
}

static void
list_statement(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	SlowListing *listing = arg;
	CpmRow	   *row = &listing->row;
	Text	   *text = NULL;

	cpm_row_timestamptz(row, slow->finished_at);
	cpm_row_foreign_text(row, slow->pool.database);
	cpm_row_foreign_text(row, slow->pool.role);
	cpm_row_foreign_text(row, slow->pool.application_name);
	cpm_row_float8(row, (double) slow->elapsed_us / 1000);
	/* as in pg_stat_statements: whose statement it was, all may see, but not which */
	if (slow->queryid != 0 && cpm_may_see(get_role_oid(slow->pool.role, true)))
	{
		text = hash_search(listing->texts, &slow->queryid, HASH_FIND, NULL);
		cpm_row_int8(row, (int64) slow->queryid);
	}
	else
		cpm_row_null(row);
	cpm_row_text(row, slow->sqlstate ? unpack_sql_state(slow->sqlstate) : "00000");
	cpm_row_text(row, text ? text->query : NULL);
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
