/* SPDX-License-Identifier: PostgreSQL */
/*
 * query_texts.h
 *		Looks up the texts of recorded queryids in pg_stat_statements.
 */
#ifndef CPM_QUERY_TEXTS_H
#define CPM_QUERY_TEXTS_H

#include "c.h"
#include "utils/hsearch.h"

/*
 * Create an empty table of texts in the current memory context. Request each text that a view will
 * show, then read all of them in one pass over pg_stat_statements. Requests for queryid 0 or an
 * invalid database are ignored; an invalid role matches the statements of every role. Texts remain
 * NULL if slow_statement_text is off, or if pg_stat_statements is not preloaded, is not installed
 * in this database, may not be read by the caller, has evicted the statement or has 1 GB of texts.
 */
extern HTAB *cpm_query_texts_create(void);
extern void cpm_query_texts_request(HTAB *texts, Oid database, Oid role, uint64 queryid);
extern void cpm_query_texts_read(HTAB *texts);

/*
 * Return a text in the encoding of its database, as cpm_row_query() expects it. Prefers the text
 * that pg_stat_statements has recorded for the role. Returns NULL if the text is not known. A
 * statement that pg_stat_statements hides from the caller has no known text, because its queryid
 * is hidden, too.
 */
extern const char *cpm_query_text(HTAB *texts, Oid database, Oid role, uint64 queryid);

#endif							/* CPM_QUERY_TEXTS_H */
