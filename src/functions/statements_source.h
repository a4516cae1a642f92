/* SPDX-License-Identifier: PostgreSQL */
/*
 * statements_source.h
 *		Reads pg_stat_statements, wherever it is, if it is.
 */
#ifndef CPM_STATEMENTS_SOURCE_H
#define CPM_STATEMENTS_SOURCE_H

#include "access/htup.h"
#include "access/tupdesc.h"

/* Is pg_stat_statements in shared_preload_libraries? */
extern bool cpm_statements_are_loaded(void);

/* Fail with 55000 unless it is. */
extern void cpm_statements_require_loaded(const char *what);

/* Rows of pg_stat_statements, whose columns functions/statement_rows finds by name. */
typedef struct CpmStatements
{
	TupleDesc	description;
	uint64		count;
	HeapTuple  *row;
} CpmStatements;

/*
 * Read all rows, as the caller may see them, into the current memory context. Returns false if
 * this database does not have the extension, or the caller may not execute its function; needs
 * no privilege on the schema. Texts are as they were stored, each in the encoding of its
 * database. Call when pg_stat_statements is loaded.
 */
extern bool cpm_statements_read(CpmStatements *statements);

/* The same, but fail: with 42704 if the extension does not exist, otherwise with 42501. */
extern void cpm_statements_require(CpmStatements *statements);

#endif							/* CPM_STATEMENTS_SOURCE_H */
