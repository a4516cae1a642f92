/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_text.h
 *		What the text of a statement says: its kind, its tables, and whether it is
 *		about the server or about this extension.
 */
#ifndef CPM_STATEMENT_TEXT_H
#define CPM_STATEMENT_TEXT_H

#include "nodes/pg_list.h"
#include "rules/candidates.h"

typedef struct CpmStatementText
{
	CpmStatementKind kind;
	bool		has_parameters;
	bool		is_pure_read;	/* locks no rows and changes none */
	bool		is_ours;		/* names a view or a function of connpool_monitor */
	bool		has_tables;		/* other than those of the system */
	List	   *tables;			/* of RangeVar: all, once for each mention; no CTEs */
} CpmStatementText;

/*
 * Read a text as pg_stat_statements shows it. Of kind CPM_STATEMENT_OTHER, and
 * nothing else known, when it is a utility statement, or cannot be parsed.
 * Allocates in the current context, some 100 times the text's length.
 */
extern CpmStatementText cpm_read_statement_text(const char *query);

#endif							/* CPM_STATEMENT_TEXT_H */
