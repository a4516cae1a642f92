/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates_view.c
 *		connpool_batch_candidates and connpool_cache_candidates: statements of
 *		pg_stat_statements that should be batched or cached.
 *
 * Statements inside functions (pg_stat_statements.track = all) are left out: no
 * client sends or keeps anything of them. So are those of the system, of this
 * extension, and those whose text the caller may not see.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "commands/dbcommands.h"
#include "counters/pool_snapshot.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/candidates_view.h"
#include "functions/foreign_text.h"
#include "functions/rows.h"
#include "functions/statement_rows.h"
#include "functions/statement_tables.h"
#include "functions/statement_text.h"
#include "functions/statements_source.h"
#include "miscadmin.h"
#include "rules/candidates.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(connpool_batch_candidates_1_0);
PG_FUNCTION_INFO_V1(connpool_cache_candidates_1_0);

/* Whose statements: a role in a database, and what both sides have counted of it. */
typedef struct Owner
{
	struct
	{
		Oid			database;
		Oid			role;
	}			key;			/* hash key */
	int64		calls;			/* by pg_stat_statements */
	uint64		queries;		/* by our own counters */
	uint64		transactions;
} Owner;

typedef struct Candidate
{
	HeapTuple	tuple;
	TupleDesc	description;
	const CpmStatementColumns *columns;
	CpmStatement statement;
	CpmCandidate verdict;
} Candidate;

typedef bool (*Judge) (const CpmStatement *statement, CpmCandidate *candidate);
typedef void (*Visit) (const Candidate *candidate, void *arg);

static Owner *
owner_of(HTAB *owners, HeapTuple tuple, TupleDesc description, const CpmStatementColumns *columns)
{
	Owner		wanted = {0};
	Owner	   *owner;
	bool		found;

	wanted.key.database = cpm_statement_oid(tuple, description, columns->dbid);
	wanted.key.role = cpm_statement_oid(tuple, description, columns->userid);
	owner = hash_search(owners, &wanted.key, HASH_ENTER, &found);
	if (!found)
		owner->calls = owner->queries = owner->transactions = 0;
	return owner;
}

/* Add what our pools have counted of each owner. */
static void
count_pools(HTAB *owners)
{
	CpmPoolSnapshot list = cpm_pool_snapshot();
	HASH_SEQ_STATUS status;
	Owner	   *owner;

	hash_seq_init(&status, owners);
	while ((owner = hash_seq_search(&status)) != NULL)
	{
		const char *database = get_database_name(owner->key.database);
		const char *role = GetUserNameFromId(owner->key.role, true);

		for (int i = 0; database && role && i < list.places; i++)
		{
			const CpmPool *pool = &list.pool[i];

			if (!list.is_used[i] || strcmp(pool->name.database, database) != 0 ||
				strcmp(pool->name.role, role) != 0)
				continue;
			owner->queries += pool->counts.of[CPM_QUERIES];
			owner->transactions += pool->counts.of[CPM_TRANSACTIONS];
		}
	}
}

/* All owners of the statements that have been read. */
static HTAB *
find_owners(const CpmStatements *statements, const CpmStatementColumns *columns)
{
	HASHCTL		control = {.keysize = sizeof(((Owner *) 0)->key), .entrysize = sizeof(Owner)};
	HTAB	   *owners;

	control.hcxt = CurrentMemoryContext;
	owners = hash_create("connpool_monitor owners", 64, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 i = 0; i < statements->count; i++)
	{
		HeapTuple	tuple = statements->row[i];
		TupleDesc	description = statements->description;

		if (cpm_statement_is_toplevel(tuple, description, columns->toplevel))
			owner_of(owners, tuple, description, columns)->calls +=
				cpm_statement_int8(tuple, description, columns->calls);
	}
	if (cpm_is_preloaded())
		count_pools(owners);
	return owners;
}

/*
 * The transactions that a statement's calls may be compared with; -1 unknown.
 * pg_stat_statements and we are reset at different times: if it has counted from
 * earlier on, it has counted more statements than we have. Half as many again
 * are allowed, for it counts a cursor's query besides DECLARE and FETCH, and
 * that does not change what a ratio says. A role taken by SET ROLE has none.
 */
static int64
owner_transactions(const Owner *owner, int64 calls)
{
	if ((uint64) calls > owner->queries || (uint64) owner->calls > owner->queries / 2 * 3)
		return -1;
	return (int64) owner->transactions;
}

static void
fill_numbers(Candidate *candidate)
{
	const CpmStatementColumns *columns = candidate->columns;
	HeapTuple	tuple = candidate->tuple;
	TupleDesc	description = candidate->description;
	CpmStatement *statement = &candidate->statement;

	statement->calls = cpm_statement_int8(tuple, description, columns->calls);
	statement->rows = cpm_statement_int8(tuple, description, columns->rows);
	statement->mean_ms = cpm_statement_float8(tuple, description, columns->mean_time);
	statement->total_ms = cpm_statement_float8(tuple, description, columns->total_time);
	statement->blocks = cpm_statement_int8(tuple, description, columns->blocks_hit) +
		cpm_statement_int8(tuple, description, columns->blocks_read);
}

/* What its text and its tables say. False when it is not to be judged. */
static bool
fill_meaning(Candidate *candidate)
{
	const CpmStatementColumns *columns = candidate->columns;
	CpmStatement *statement = &candidate->statement;
	const char *query = cpm_statement_text(candidate->tuple, candidate->description, columns->query);
	Oid			database = cpm_statement_oid(candidate->tuple, candidate->description, columns->dbid);
	CpmStatementText text;
	CpmTableNumbers numbers = {.tuples = -1, .writes = -1};

	if (query == NULL || strcmp(query, CPM_HIDDEN_QUERY) == 0)
		return false;
	text = cpm_read_statement_text(cpm_text_to_server(query, cpm_database_encoding(database)));
	if (text.is_ours)
		return false;
	statement->kind = text.kind;
	statement->has_tables = text.has_tables;
	statement->has_parameters = text.has_parameters;
	statement->is_pure_read = text.is_pure_read;
	if (database == MyDatabaseId)
		numbers = cpm_table_numbers(text.tables);
	statement->tuples = numbers.tuples;
	statement->writes = numbers.writes;
	return true;
}

static void
visit_statement(Candidate *candidate, HTAB *owners, Judge judge, Visit visit, void *arg)
{
	const Owner *owner;

	if (!cpm_statement_is_toplevel(candidate->tuple, candidate->description,
								   candidate->columns->toplevel))
		return;
	fill_numbers(candidate);
	if (candidate->statement.calls < CPM_CANDIDATE_CALLS || !fill_meaning(candidate))
		return;
	owner = owner_of(owners, candidate->tuple, candidate->description, candidate->columns);
	candidate->statement.transactions = owner_transactions(owner, candidate->statement.calls);
	if (judge(&candidate->statement, &candidate->verdict))
		visit(candidate, arg);
}

/* Visit the candidates among the statements that have been read. */
static void
visit_candidates(const CpmStatements *statements, Judge judge, Visit visit, void *arg)
{
	CpmStatementColumns columns = cpm_statement_columns(statements->description);
	HTAB	   *owners = find_owners(statements, &columns);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "connpool_monitor statement",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);

	for (uint64 i = 0; i < statements->count; i++)
	{
		Candidate	candidate = {.tuple = statements->row[i], .description = statements->description,
		.columns = &columns};

		CHECK_FOR_INTERRUPTS();
		visit_statement(&candidate, owners, judge, visit, arg);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
}

/* database to total_time, which both views have */
static void
add_statement(CpmRow *row, const Candidate *candidate)
{
	const CpmStatementColumns *columns = candidate->columns;
	HeapTuple	tuple = candidate->tuple;
	TupleDesc	description = candidate->description;

	cpm_row_database(row, cpm_statement_oid(tuple, description, columns->dbid));
	cpm_row_role(row, cpm_statement_oid(tuple, description, columns->userid));
	cpm_row_statement_int8(row, tuple, description, columns->queryid);
	cpm_row_query(row, cpm_statement_text(tuple, description, columns->query),
				  cpm_statement_oid(tuple, description, columns->dbid));
	cpm_row_int8(row, candidate->statement.calls);
	cpm_row_float8(row, cpm_rows_per_call(&candidate->statement));
	cpm_row_float8(row, candidate->statement.mean_ms);
	cpm_row_float8(row, candidate->statement.total_ms);
}

static void
emit_batch(const Candidate *candidate, void *result)
{
	CpmRow		row = {0};

	add_statement(&row, candidate);
	cpm_row_float8(&row, candidate->verdict.calls_per_transaction);
	cpm_row_text(&row, candidate->verdict.is_certain ? "high" : "low");
	cpm_row_text(&row, candidate->verdict.evidence);
	cpm_row_emit(&row, result);
}

static void
emit_cache(const Candidate *candidate, void *result)
{
	CpmRow		row = {0};

	add_statement(&row, candidate);
	cpm_row_text(&row, candidate->verdict.evidence);
	cpm_row_emit(&row, result);
}

static Datum
list_candidates(FunctionCallInfo fcinfo, const char *view, Judge judge, Visit emit)
{
	ReturnSetInfo *result;
	CpmStatements statements;

	cpm_require_view(fcinfo, view);
	cpm_statements_require_loaded(view);
	result = cpm_rows_begin(fcinfo);
	cpm_statements_require(&statements);
	visit_candidates(&statements, judge, emit, result);
	return (Datum) 0;
}

Datum
connpool_batch_candidates_1_0(PG_FUNCTION_ARGS)
{
	return list_candidates(fcinfo, "connpool_batch_candidates", cpm_evaluate_batch, emit_batch);
}

Datum
connpool_cache_candidates_1_0(PG_FUNCTION_ARGS)
{
	return list_candidates(fcinfo, "connpool_cache_candidates", cpm_evaluate_cache, emit_cache);
}

typedef struct Count
{
	int			certain;
	double		total_ms;
} Count;

static void
count_candidate(const Candidate *candidate, void *arg)
{
	Count	   *count = arg;

	if (!candidate->verdict.is_certain)
		return;
	count->certain++;
	count->total_ms += candidate->statement.total_ms;
}

static int
count_candidates(Judge judge, double *total_ms)
{
	Count		count = {0};
	CpmStatements statements;
	bool		found;

	*total_ms = 0;
	if (!cpm_statements_are_loaded())
		return -1;
	found = cpm_statements_read(&statements);
	if (found)
		visit_candidates(&statements, judge, count_candidate, &count);
	*total_ms = count.total_ms;
	return found ? count.certain : -1;
}

int
cpm_count_batch_candidates(double *total_ms)
{
	return count_candidates(cpm_evaluate_batch, total_ms);
}

int
cpm_count_cache_candidates(double *total_ms)
{
	return count_candidates(cpm_evaluate_cache, total_ms);
}
