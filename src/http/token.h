/* SPDX-License-Identifier: PostgreSQL */
/*
 * token.h
 *		Reads the token of http_token_file and checks that requests carry it.
 */
#ifndef CPM_HTTP_TOKEN_H
#define CPM_HTTP_TOKEN_H

/*
 * Read the token from the file. An empty path means that no token is required. If the file cannot
 * be used, logs a warning with the reason and keeps the last token.
 */
extern void cpm_token_reread(const char *path);

/* Return why the file could not be used when it was last read; an empty string if it could. */
extern const char *cpm_token_file_problem(void);

/* Return true if requests must carry a token. */
extern bool cpm_token_is_required(void);

/* Return true if a token has been read. Before that, cpm_token_matches() is always false. */
extern bool cpm_token_is_loaded(void);

/*
 * Return true if the value of an Authorization header carries the token, as Bearer or as the
 * password of Basic. authorization is NULL if the request has no such header. The duration does
 * not reveal how much of the token is right.
 */
extern bool cpm_token_matches(const char *authorization);

#endif							/* CPM_HTTP_TOKEN_H */
