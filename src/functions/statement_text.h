/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_text.h
 *		Finds the kind and the tables of a statement by parsing its text.
 */
#ifndef CPM_STATEMENT_TEXT_H
#define CPM_STATEMENT_TEXT_H

#include "nodes/pg_list.h"
#include "rules/candidates.h"

typedef struct CpmStatementText
{
	CpmStatementKind kind;
	bool		has_parameters;
	bool		is_pure_read;	/* neither changes nor locks rows */
	bool		is_ours;		/* names a view or a function of this extension */
	bool		has_tables;		/* names a table that is not a system catalog */
	List	   *tables;			/* of RangeVar: one for each mention; not CTEs */
} CpmStatementText;

/*
 * Parse a text from pg_stat_statements. extension_objects lists the names and schemas of this
 * extension's views and functions, as RangeVars. For a utility statement, or if the text cannot be
 * parsed, the kind is CPM_STATEMENT_OTHER and tables is empty. Never raises a syntax error.
 * Allocates about 100 times the length of the text in the current memory context.
 */
extern CpmStatementText cpm_read_statement_text(const char *query,
												const List *extension_objects);

#endif							/* CPM_STATEMENT_TEXT_H */
