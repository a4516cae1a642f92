/* SPDX-License-Identifier: PostgreSQL */
/*
 * foreign_text.h
 *		Makes text from other databases and from clients valid in the reader's encoding.
 */
#ifndef CPM_FOREIGN_TEXT_H
#define CPM_FOREIGN_TEXT_H

#include "c.h"

/*
 * Return the encoding of the database, or of the current one if that database has been dropped.
 * Needs a transaction.
 */
extern int	cpm_database_encoding(Oid database);

/*
 * Return the text in this database's encoding: the text itself if it is ASCII, otherwise a
 * palloc'd copy. Converts from the given encoding if a conversion exists, and otherwise interprets
 * the bytes in this database's encoding. Invalid bytes, and characters that this encoding does not
 * have, become "?". Never raises a conversion error. Needs a transaction.
 */
extern const char *cpm_text_to_server(const char *text, int encoding);

/*
 * Return the text, or a palloc'd copy with "?" for each invalid byte and for each character that
 * the client's encoding does not have: if either were sent, the whole query would fail. Does not
 * convert to the client's encoding. Never raises a conversion error. Needs a transaction.
 */
extern const char *cpm_text_for_client(const char *text);

#endif							/* CPM_FOREIGN_TEXT_H */
