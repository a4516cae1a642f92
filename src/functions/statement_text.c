/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_text.c
 *		Finds the kind and the tables of a statement by parsing its text.
 *
 * Uses the server's raw parser, which does not look up names: the text may come from another
 * database, or name tables that were dropped. Only pg_catalog, which is the same in every
 * database, is searched to recognize system catalogs.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_namespace.h"
#include "common/keywords.h"
#include "functions/statement_text.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* The state of the walk over a parse tree. */
typedef struct TextWalk
{
	CpmStatementText *text;
	const List *extension_objects;	/* as for cpm_read_statement_text() */
	List	   *ctes;			/* of char *: names of the CTEs that are visible at this node */
} TextWalk;

static bool walk_node(Node *node, void *arg);

/*
 * Return a palloc'd copy of the query with '' in place of each parameter such as $1. Uses the
 * server's scanner, because $1 may also be a part of a name, a string or a comment. Raises the
 * scanner's errors.
 */
static char *
replace_parameters(const char *query)
{
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(query, &extra, &ScanKeywords, ScanKeywordTokens);
	core_YYSTYPE value;
	YYLTYPE		location;
	StringInfoData text;
	const char *rest = query;

	initStringInfo(&text);
	while (core_yylex(&value, &location, scanner) != 0)
	{
		const char *token = query + location;

		/* other tokens that begin with a dollar sign are strings such as $$a$$ */
		if (token[0] != '$' || !isdigit((unsigned char) token[1]))
			continue;
		appendBinaryStringInfo(&text, rest, (int) (token - rest));
		appendStringInfoString(&text, "''");
		rest = token + 1 + strspn(token + 1, "0123456789");
	}
	scanner_finish(scanner);
	appendStringInfoString(&text, rest);
	return text.data;
}

/*
 * Return true if the name is that of an object of this extension. The search_path of the session
 * that ran the statement is unknown, so an unqualified name matches in any schema.
 */
static bool
is_extension_object(const char *schema, const char *name, const List *extension_objects)
{
	ListCell   *cell;

	foreach(cell, extension_objects)
	{
		const RangeVar *object = lfirst_node(RangeVar, cell);

		if (strcmp(object->relname, name) == 0 &&
			(schema == NULL || strcmp(object->schemaname, schema) == 0))
			return true;
	}
	return false;
}

static bool
calls_extension(const FuncCall *call, const List *extension_objects)
{
	int			length = list_length(call->funcname);
	const char *schema = length > 1 ? strVal(list_nth(call->funcname, length - 2)) : NULL;

	return is_extension_object(schema, strVal(llast(call->funcname)), extension_objects);
}

/* Return true for system catalogs and views, and for pg_stat_statements(_info) in any schema. */
static bool
is_system_table(const RangeVar *table)
{
	if (strncmp(table->relname, "pg_stat_statements", strlen("pg_stat_statements")) == 0)
		return true;
	if (table->schemaname != NULL)
		return strcmp(table->schemaname, "pg_catalog") == 0 ||
			strcmp(table->schemaname, "information_schema") == 0;
	return OidIsValid(get_relname_relid(table->relname, PG_CATALOG_NAMESPACE));
}

static void
record_table(RangeVar *table, TextWalk *walk)
{
	if (table->schemaname == NULL)
	{
		ListCell   *cell;

		foreach(cell, walk->ctes)
			if (strcmp(lfirst(cell), table->relname) == 0)
			return;
	}
	walk->text->tables = lappend(walk->text->tables, table);
}

/*
 * Walk over a statement and its WITH clause. A CTE is visible in the statement and in the CTEs
 * after it; in WITH RECURSIVE, in all CTEs of the clause.
 */
static bool
walk_statement(Node *node, const WithClause *with, TextWalk *walk)
{
	int			visible_outside = list_length(walk->ctes);
	ListCell   *cell;

	if (with != NULL && with->recursive)
		foreach(cell, with->ctes)
			walk->ctes = lappend(walk->ctes, lfirst_node(CommonTableExpr, cell)->ctename);
	if (with != NULL)
		foreach(cell, with->ctes)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		walk_node(cte->ctequery, walk);
		if (!with->recursive)
			walk->ctes = lappend(walk->ctes, cte->ctename);
	}
	raw_expression_tree_walker(node, walk_node, walk);
	walk->ctes = list_truncate(walk->ctes, visible_outside);
	return false;
}

static bool
walk_writing_statement(Node *node, const WithClause *with, TextWalk *walk)
{
	walk->text->is_pure_read = false;
	return walk_statement(node, with, walk);
}

static bool
walk_node(Node *node, void *arg)
{
	TextWalk   *walk = arg;
	CpmStatementText *text = walk->text;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SelectStmt:
			if (((SelectStmt *) node)->lockingClause != NIL || ((SelectStmt *) node)->intoClause)
				text->is_pure_read = false;
			return walk_statement(node, ((SelectStmt *) node)->withClause, walk);
		case T_InsertStmt:
			return walk_writing_statement(node, ((InsertStmt *) node)->withClause, walk);
		case T_UpdateStmt:
			return walk_writing_statement(node, ((UpdateStmt *) node)->withClause, walk);
		case T_DeleteStmt:
			return walk_writing_statement(node, ((DeleteStmt *) node)->withClause, walk);
		case T_MergeStmt:
			return walk_writing_statement(node, ((MergeStmt *) node)->withClause, walk);
		case T_WithClause:
			/* walk_statement() has walked over it */
		case T_LockingClause:
			/* its names are aliases of tables in FROM */
			return false;
		case T_RangeVar:
			record_table((RangeVar *) node, walk);
			return false;
		case T_FuncCall:
			if (calls_extension((FuncCall *) node, walk->extension_objects))
				text->is_ours = true;
			break;
		case T_ParamRef:
			text->has_parameters = true;
			return false;
		default:
			break;
	}
	return raw_expression_tree_walker(node, walk_node, arg);
}

static CpmStatementKind
statement_kind(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_SelectStmt:
			return CPM_STATEMENT_SELECT;
		case T_InsertStmt:
			return CPM_STATEMENT_INSERT;
		case T_UpdateStmt:
			return CPM_STATEMENT_UPDATE;
		case T_DeleteStmt:
			return CPM_STATEMENT_DELETE;
		case T_MergeStmt:
			return CPM_STATEMENT_MERGE;
		default:
			return CPM_STATEMENT_OTHER;
	}
}

/*
 * Parse the query and walk over it. with_constants replaces its parameters by constants first.
 * Raises the parser's errors.
 */
static CpmStatementText
parse_text(const char *query, bool with_constants, const List *extension_objects)
{
	CpmStatementText text = {.is_pure_read = true, .has_parameters = with_constants};
	TextWalk	walk = {.text = &text, .extension_objects = extension_objects};
	List	   *statements = raw_parser(with_constants ? replace_parameters(query) : query,
										RAW_PARSE_DEFAULT);
	Node	   *statement;

	if (list_length(statements) != 1)
		return text;
	statement = linitial_node(RawStmt, statements)->stmt;
	text.kind = statement_kind(statement);
	if (text.kind != CPM_STATEMENT_OTHER)
		walk_node(statement, &walk);
	return text;
}

/*
 * Parse like parse_text(), but return false after a syntax error. Discarding the error without a
 * subtransaction is safe, because the raw parser acquires no resources except memory. Rethrows
 * cancellation, and errors about resources such as memory.
 */
static bool
try_parse_text(const char *query, bool with_constants, const List *extension_objects,
			   CpmStatementText *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool parsed = false;

	PG_TRY();
	{
		*text = parse_text(query, with_constants, extension_objects);
		parsed = true;
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category == ERRCODE_INSUFFICIENT_RESOURCES ||
			category == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return parsed;
}

static void
classify_tables(CpmStatementText *text, const List *extension_objects)
{
	ListCell   *cell;

	foreach(cell, text->tables)
	{
		const RangeVar *table = lfirst_node(RangeVar, cell);

		if (is_extension_object(table->schemaname, table->relname, extension_objects))
			text->is_ours = true;
		if (!is_system_table(table))
			text->has_tables = true;
	}
}

/*
 * pg_stat_statements shows a typed constant such as date '2020-01-01' as date $1, which the
 * grammar rejects. If parsing fails, retry with constants in place of parameters. Suppress the
 * parser's notices about truncated names, because they would reach the reader of the view.
 */
CpmStatementText
cpm_read_statement_text(const char *query, const List *extension_objects)
{
	CpmStatementText text = {0};
	int			level = NewGUCNestLevel();

	(void) set_config_option("client_min_messages", "error", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (!try_parse_text(query, false, extension_objects, &text) &&
		!try_parse_text(query, true, extension_objects, &text))
		text.kind = CPM_STATEMENT_OTHER;
	AtEOXact_GUC(true, level);
	classify_tables(&text, extension_objects);
	return text;
}
