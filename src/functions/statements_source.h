/* SPDX-License-Identifier: PostgreSQL */
/*
 * statements_source.h
 *		Reads pg_stat_statements, in whatever schema it is installed.
 */
#ifndef CPM_STATEMENTS_SOURCE_H
#define CPM_STATEMENTS_SOURCE_H

#include "access/htup.h"
#include "access/tupdesc.h"

/* Return true if pg_stat_statements is preloaded. */
extern bool cpm_statements_are_loaded(void);

/* Fail with 55000 unless it is preloaded. object names the caller in the message. */
extern void cpm_statements_require_loaded(const char *object);

/* Rows of pg_stat_statements. cpm_statement_columns() finds their columns by name. */
typedef struct CpmStatements
{
	TupleDesc	description;
	uint64		count;
	HeapTuple  *row;
} CpmStatements;

/*
 * Read all rows, redacted for the caller, into the current memory context. Returns false if the
 * extension is not installed in this database or the caller may not execute its function; needs
 * no privilege on its schema. Each text is in the encoding of the statement's database, and cut
 * after 65,536 bytes. All texts are NULL while the file of pg_stat_statements has nearly 1 GB or
 * more. Call only if pg_stat_statements is preloaded, because its function fails otherwise.
 */
extern bool cpm_statements_read(CpmStatements *statements);

/*
 * Read all rows like cpm_statements_read(). Fails with 42704 if the extension is not installed in
 * this database, and with 42501 if the caller may not execute its function.
 */
extern void cpm_statements_require(CpmStatements *statements);

/*
 * Return true if the text has been cut. Also true for a text that is complete and at most three
 * bytes below the limit.
 */
extern bool cpm_statement_text_is_cut(const char *query);

#endif							/* CPM_STATEMENTS_SOURCE_H */
