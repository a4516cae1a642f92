/* SPDX-License-Identifier: PostgreSQL */
/*
 * token.h
 *		The token that requests must bear, and the file that it comes from.
 */
#ifndef CPM_HTTP_TOKEN_H
#define CPM_HTTP_TOKEN_H

/*
 * Read the file that the setting names; empty is none, and no token is asked for. Of
 * a file that cannot be used the last token stays, and a warning says why.
 */
extern void cpm_token_reread(const char *path);

/* Is one asked for? Is one known? Without the second nobody can bear it. */
extern bool cpm_token_is_demanded(void);
extern bool cpm_token_is_known(void);

/*
 * Does this value of the header Authorization (NULL: none) bear it, as Bearer or as
 * the password of Basic? In a time that does not depend on how much of it is right.
 */
extern bool cpm_token_fits(const char *authorization);

#endif							/* CPM_HTTP_TOKEN_H */
