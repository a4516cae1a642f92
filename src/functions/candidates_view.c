/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates_view.c
 *		connpool_batch_candidates and connpool_cache_candidates: statements of
 *		pg_stat_statements that should be batched or cached.
 *
 * The views omit statements inside functions (pg_stat_statements.track = all), because no client
 * sends them or receives their rows. They also omit statements on system catalogs or on this
 * extension's objects, and statements whose text the caller may not see. Finally they omit
 * statements whose text is cut, because its beginning may be a statement with another meaning.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "base/shmem.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "counters/pool_snapshot.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/foreign_text.h"
#include "functions/rows.h"
#include "functions/statement_rows.h"
#include "functions/statement_tables.h"
#include "functions/statement_text.h"
#include "functions/statements_source.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/pg_list.h"
#include "rules/candidates.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(connpool_batch_candidates_1_0);
PG_FUNCTION_INFO_V1(connpool_cache_candidates_1_0);

/* Totals of the statements of one role in one database. */
typedef struct StatementOwner
{
	struct
	{
		Oid			database;
		Oid			role;
	}			key;			/* hash key */
	int64		calls;			/* counted by pg_stat_statements; top-level statements only */
	uint64		queries;		/* counted by this extension, in the owner's pools */
	uint64		transactions;	/* likewise */
} StatementOwner;

typedef struct Candidate
{
	HeapTuple	tuple;
	TupleDesc	description;
	const CpmStatementColumns *columns;
	const List *extension_objects;	/* see extension_objects() */
	CpmStatement statement;
	CpmCandidate verdict;
} Candidate;

typedef bool (*Evaluator) (const CpmStatement *statement, CpmCandidate *candidate);
typedef void (*CandidateVisitor) (const Candidate *candidate, void *arg);

/* Return the owner of a statement, adding it to the table if necessary. */
static StatementOwner *
enter_owner(HTAB *owners, HeapTuple tuple, TupleDesc description,
			const CpmStatementColumns *columns)
{
	StatementOwner wanted = {0};
	StatementOwner *owner;
	bool		found;

	wanted.key.database = cpm_statement_oid(tuple, description, columns->dbid);
	wanted.key.role = cpm_statement_oid(tuple, description, columns->userid);
	owner = hash_search(owners, &wanted.key, HASH_ENTER, &found);
	if (!found)
		owner->calls = owner->queries = owner->transactions = 0;
	return owner;
}

/* Add the counters of all pools to the owners that have their role and database. */
static void
add_pool_counters(HTAB *owners)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot(CPM_NO_HISTOGRAM);
	HASH_SEQ_STATUS status;
	StatementOwner *owner;

	hash_seq_init(&status, owners);
	while ((owner = hash_seq_search(&status)) != NULL)
	{
		const char *database = get_database_name(owner->key.database);
		const char *role = GetUserNameFromId(owner->key.role, true);

		for (int i = 0; database && role && i < snapshot.slots; i++)
		{
			const CpmPool *pool = &snapshot.pool[i];

			if (!snapshot.is_used[i] || strcmp(pool->name.database, database) != 0 ||
				strcmp(pool->name.role, role) != 0)
				continue;
			owner->queries += pool->counts.of[CPM_QUERIES];
			owner->transactions += pool->counts.of[CPM_TRANSACTIONS];
		}
	}
}

/* Return a hash table of the owners of the statements, with their totals. */
static HTAB *
collect_owners(const CpmStatements *statements, const CpmStatementColumns *columns)
{
	HASHCTL		control = {
		.keysize = sizeof(((StatementOwner *) 0)->key),
		.entrysize = sizeof(StatementOwner),
	};
	HTAB	   *owners;

	control.hcxt = CurrentMemoryContext;
	owners = hash_create("connpool_monitor owners", 64, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 i = 0; i < statements->count; i++)
	{
		HeapTuple	tuple = statements->row[i];
		TupleDesc	description = statements->description;

		if (cpm_statement_is_toplevel(tuple, description, columns->toplevel))
			enter_owner(owners, tuple, description, columns)->calls +=
				cpm_statement_int8(tuple, description, columns->calls);
	}
	if (cpm_is_preloaded())
		add_pool_counters(owners);
	return owners;
}

/*
 * Return the owner's number of transactions, as the divisor for calls per transaction. Returns -1
 * if the pools have counted for a shorter time than pg_stat_statements.
 *
 * The two are reset independently. If pg_stat_statements was reset earlier than the pools, it has
 * counted more statements, and the ratio would be too high. There are two signs of this: it
 * counted more calls of this statement than the pools counted statements, or over one and a half
 * times as many calls of all statements. The margin is needed because pg_stat_statements counts
 * the query of a cursor in addition to DECLARE and FETCH. The result is also -1 for a role that
 * sessions only assume with SET ROLE, because it has no pool.
 */
static int64
owner_transactions(const StatementOwner *owner, int64 calls)
{
	if ((uint64) calls > owner->queries || (uint64) owner->calls > owner->queries / 2 * 3)
		return -1;
	return (int64) owner->transactions;
}

static void
fill_counters(Candidate *candidate)
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

/*
 * Fill in the properties of the statement's text and of its tables. Returns false if the
 * statement cannot be a candidate: its text is hidden or cut, or it uses this extension's objects.
 */
static bool
fill_text_and_tables(Candidate *candidate)
{
	const CpmStatementColumns *columns = candidate->columns;
	CpmStatement *statement = &candidate->statement;
	HeapTuple	tuple = candidate->tuple;
	TupleDesc	description = candidate->description;
	const char *query = cpm_statement_text(tuple, description, columns->query);
	Oid			database = cpm_statement_oid(tuple, description, columns->dbid);
	CpmStatementText text;
	CpmTableNumbers numbers = {.tuples = -1, .writes = -1};

	if (query == NULL || strcmp(query, CPM_HIDDEN_QUERY) == 0 || cpm_statement_text_is_cut(query))
		return false;
	text = cpm_read_statement_text(cpm_text_to_server(query, cpm_database_encoding(database)),
								   candidate->extension_objects);
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
visit_statement(Candidate *candidate, HTAB *owners, Evaluator evaluate, CandidateVisitor visit,
				void *arg)
{
	const StatementOwner *owner;

	if (!cpm_statement_is_toplevel(candidate->tuple, candidate->description,
								   candidate->columns->toplevel))
		return;
	fill_counters(candidate);
	if (candidate->statement.calls < CPM_CANDIDATE_CALLS || !fill_text_and_tables(candidate))
		return;
	owner = enter_owner(owners, candidate->tuple, candidate->description, candidate->columns);
	candidate->statement.transactions = owner_transactions(owner, candidate->statement.calls);
	if (evaluate(&candidate->statement, &candidate->verdict))
		visit(candidate, arg);
}

/*
 * Return the names and schemas of this extension's views and functions, as a List of RangeVar.
 * Statements of other databases are compared with these names, too, because their catalogs cannot
 * be read here.
 */
static List *
extension_objects(void)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	Oid			extension = get_extension_oid("connpool_monitor", true);
	List	   *objects = NIL;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		const FormData_pg_depend *member = (const FormData_pg_depend *) GETSTRUCT(tuple);
		bool		is_function = member->classid == ProcedureRelationId;
		Oid			schema;
		char	   *name;
		char	   *schema_name;

		if (!is_function && member->classid != RelationRelationId)
			continue;
		schema = is_function ? get_func_namespace(member->objid) :
			get_rel_namespace(member->objid);
		name = is_function ? get_func_name(member->objid) : get_rel_name(member->objid);
		schema_name = get_namespace_name(schema);
		/* either is NULL if another session has dropped the extension meanwhile */
		if (name != NULL && schema_name != NULL)
			objects = lappend(objects, makeRangeVar(schema_name, name, -1));
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return objects;
}

/* Call visit for each statement that evaluate accepts. */
static void
visit_candidates(const CpmStatements *statements, Evaluator evaluate, CandidateVisitor visit,
				 void *arg)
{
	CpmStatementColumns columns = cpm_statement_columns(statements->description);
	HTAB	   *owners = collect_owners(statements, &columns);
	List	   *objects = extension_objects();
	MemoryContext old_context = CurrentMemoryContext;
	MemoryContext per_statement = AllocSetContextCreate(old_context, "connpool_monitor statement",
														ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(per_statement);
	for (uint64 i = 0; i < statements->count; i++)
	{
		Candidate	candidate = {
			.tuple = statements->row[i],
			.description = statements->description,
			.columns = &columns,
			.extension_objects = objects,
		};

		CHECK_FOR_INTERRUPTS();
		visit_statement(&candidate, owners, evaluate, visit, arg);
		MemoryContextReset(per_statement);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(per_statement);
}

/* Add the columns that both views have: database to total_time. */
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
list_candidates(FunctionCallInfo fcinfo, const char *view, Evaluator evaluate,
				CandidateVisitor emit)
{
	ReturnSetInfo *result;
	CpmStatements statements;

	cpm_require_view(fcinfo, view);
	cpm_statements_require_loaded(view);
	result = cpm_rows_begin(fcinfo);
	cpm_statements_require(&statements);
	visit_candidates(&statements, evaluate, emit, result);
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
