/* SPDX-License-Identifier: PostgreSQL */
/*
 * token.h
 *		The token that requests must carry, and the file that has it.
 */
#ifndef CPM_HTTP_TOKEN_H
#define CPM_HTTP_TOKEN_H

/*
 * Read the token from the file. An empty path means that no token is required. If the file cannot
 * be used, logs a warning with the reason and keeps the last token.
 */
extern void cpm_token_reread(const char *path);

/* Return true if requests must carry a token. */
extern bool cpm_token_is_required(void);

/* Return true if a token has been read. If one is required and none has, no request matches. */
extern bool cpm_token_is_loaded(void);

/*
 * Return true if the value of an Authorization header carries the token, as Bearer or as the
 * password of Basic. NULL stands for no such header. The time that this takes does not depend on
 * how much of the token is right.
 */
extern bool cpm_token_matches(const char *authorization);

#endif							/* CPM_HTTP_TOKEN_H */
