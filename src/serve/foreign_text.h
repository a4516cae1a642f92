/*
 * foreign_text.h
 *		Text that came from another database or from a client, made fit to show.
 */
#ifndef CPM_FOREIGN_TEXT_H
#define CPM_FOREIGN_TEXT_H

#include "c.h"

/* The encoding of a database, or this one's if that database is gone. Needs a transaction. */
extern int	cpm_database_encoding(Oid database);

/*
 * Return the text, or a palloc'd copy of it, in this database's encoding: converted where its
 * own differs, with "?" in place of bytes that are not valid in its own and of characters
 * that this database cannot hold. Needs a transaction; raises only what palloc does.
 */
extern const char *cpm_text_to_server(const char *text, int encoding);

/*
 * Return the text, or a palloc'd copy of it, with "?" in place of what the client's encoding
 * does not have: sending that would fail the whole query. The text may also be invalid in
 * this database's encoding. Needs a transaction; raises only what palloc does.
 */
extern const char *cpm_text_for_client(const char *text);

#endif							/* CPM_FOREIGN_TEXT_H */
