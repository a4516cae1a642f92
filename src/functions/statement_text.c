/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_text.c
 *		What the text of a statement says: its kind, its tables, and whether it is
 *		about the server or about this extension.
 *
 * The server's own grammar reads it. No object is looked up but names in
 * pg_catalog, which are the same in every database: the text may be one of
 * another database, or of tables that are gone.
 */
#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "functions/statement_text.h"
#include "nodes/nodeFuncs.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/parser.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* Where the walk over a statement is. */
typedef struct Reading
{
	CpmStatementText *text;
	List	   *ctes;			/* of char *: names that are no tables here */
} Reading;

static bool read_node(Node *node, void *arg);

/* Does it have $1 and the like? Not as part of a quoted name. */
static bool
has_parameters(const char *query)
{
	bool		quoted = false;

	for (const char *at = query; *at != '\0'; at++)
	{
		if (*at == '"')
			quoted = !quoted;
		else if (*at == '$' && !quoted && at[1] >= '1' && at[1] <= '9')
			return true;
	}
	return false;
}

/* The text with '' in place of $1, which the grammar takes where it wants a constant. */
static char *
with_constants(const char *query)
{
	char	   *text = palloc(strlen(query) + 1);
	char	   *to = text;
	bool		quoted = false;

	while (*query != '\0')
	{
		if (*query == '"')
			quoted = !quoted;
		if (*query != '$' || quoted || query[1] < '1' || query[1] > '9')
		{
			*to++ = *query++;
			continue;
		}
		*to++ = '\'';
		*to++ = '\'';
		query++;
		query += strspn(query, "0123456789");
	}
	*to = '\0';
	return text;
}

static bool
is_own_name(const char *name)
{
	return strncmp(name, "connpool_", strlen("connpool_")) == 0 ||
		strcmp(name, "get_connection_stats") == 0 || strcmp(name, "slow_queries") == 0;
}

/* pg_stat_statements counts as the system's, wherever it has been created. */
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
read_table(RangeVar *table, Reading *reading)
{
	if (table->schemaname == NULL)
	{
		ListCell   *cell;

		foreach(cell, reading->ctes)
			if (strcmp(lfirst(cell), table->relname) == 0)
			return;
	}
	reading->text->tables = lappend(reading->text->tables, table);
}

/*
 * A statement with its WITH: a CTE is known to those after it, to itself when it
 * is recursive, and to nobody outside.
 */
static bool
read_statement(Node *node, const WithClause *with, Reading *reading)
{
	int			known = list_length(reading->ctes);
	ListCell   *cell;

	if (with != NULL && with->recursive)
		foreach(cell, with->ctes)
			reading->ctes = lappend(reading->ctes, lfirst_node(CommonTableExpr, cell)->ctename);
	if (with != NULL)
		foreach(cell, with->ctes)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		read_node(cte->ctequery, reading);
		if (!with->recursive)
			reading->ctes = lappend(reading->ctes, cte->ctename);
	}
	raw_expression_tree_walker(node, read_node, reading);
	reading->ctes = list_truncate(reading->ctes, known);
	return false;
}

static bool
read_node(Node *node, void *arg)
{
	Reading    *reading = arg;
	CpmStatementText *text = reading->text;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SelectStmt:
			if (((SelectStmt *) node)->lockingClause != NIL || ((SelectStmt *) node)->intoClause)
				text->is_pure_read = false;
			return read_statement(node, ((SelectStmt *) node)->withClause, reading);
		case T_InsertStmt:
			text->is_pure_read = false;
			return read_statement(node, ((InsertStmt *) node)->withClause, reading);
		case T_UpdateStmt:
			text->is_pure_read = false;
			return read_statement(node, ((UpdateStmt *) node)->withClause, reading);
		case T_DeleteStmt:
			text->is_pure_read = false;
			return read_statement(node, ((DeleteStmt *) node)->withClause, reading);
		case T_MergeStmt:
			text->is_pure_read = false;
			return read_statement(node, ((MergeStmt *) node)->withClause, reading);
		case T_WithClause:
			/* has been read by read_statement */
		case T_LockingClause:
			/* names tables of FROM by their aliases */
			return false;
		case T_RangeVar:
			read_table((RangeVar *) node, reading);
			return false;
		case T_FuncCall:
			if (is_own_name(strVal(llast(((FuncCall *) node)->funcname))))
				text->is_ours = true;
			break;
		default:
			break;
	}
	return raw_expression_tree_walker(node, read_node, arg);
}

static CpmStatementKind
kind_of(const Node *statement)
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

/* Parse and walk; raises what the parser raises. */
static CpmStatementText
read_text(const char *query)
{
	CpmStatementText text = {.is_pure_read = true};
	Reading		reading = {.text = &text};
	List	   *statements = raw_parser(query, RAW_PARSE_DEFAULT);
	Node	   *statement;

	if (list_length(statements) != 1)
		return text;
	statement = linitial_node(RawStmt, statements)->stmt;
	text.kind = kind_of(statement);
	if (text.kind != CPM_STATEMENT_OTHER)
		read_node(statement, &reading);
	return text;
}

/*
 * The same, false where the parser raises an error. Nothing but memory is in use
 * here, so that the error can be forgotten without more ado; want of memory and
 * the like are raised all the same.
 */
static bool
try_text(const char *query, CpmStatementText *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool parsed = false;

	PG_TRY();
	{
		*text = read_text(query);
		parsed = true;
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category == ERRCODE_INSUFFICIENT_RESOURCES || category == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return parsed;
}

static void
judge_names(CpmStatementText *text)
{
	ListCell   *cell;

	foreach(cell, text->tables)
	{
		const RangeVar *table = lfirst_node(RangeVar, cell);

		if (is_own_name(table->relname))
			text->is_ours = true;
		if (!is_system_table(table))
			text->has_tables = true;
	}
}

/*
 * A constant with its type's name, like date '2020-01-01', is shown as date $1,
 * which is no SQL: such a text is read with constants. The parser's notices, of
 * names that it cuts off, are not for who reads the view.
 */
CpmStatementText
cpm_read_statement_text(const char *query)
{
	CpmStatementText text = {0};
	int			level = NewGUCNestLevel();

	(void) set_config_option("client_min_messages", "error", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (!try_text(query, &text) && !try_text(with_constants(query), &text))
		text.kind = CPM_STATEMENT_OTHER;
	AtEOXact_GUC(true, level);
	text.has_parameters = has_parameters(query);
	judge_names(&text);
	return text;
}
