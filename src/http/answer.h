/* SPDX-License-Identifier: PostgreSQL */
/*
 * answer.h
 *		What a request gets: from its method, path and headers to an answer.
 */
#ifndef CPM_HTTP_ANSWER_H
#define CPM_HTTP_ANSWER_H

#include "export/worker_api.h"
#include "http/page.h"

struct sockaddr;

/* What counts of a request; NULL where it has none. */
typedef struct CpmRequest
{
	const struct sockaddr *peer;
	const char *method;
	const char *path;
	const char *accept;
	const char *authorization;
	const char *host;
	int			hosts;			/* Host headers */
	bool		needs_host;		/* HTTP/1.1 */
	const char *metric;			/* arguments of /api/history */
	const char *since;
	const char *until;
	int64		now_us;			/* by a monotonic clock */
} CpmRequest;

typedef struct CpmAnswer
{
	int			status;
	const char *type;			/* Content-Type */
	StringInfoData body;
	char		nonce[CPM_NONCE_SIZE];	/* empty but for the page */
	bool		retry;			/* Retry-After: 1 */
	bool		asks_user;		/* of 401: for the page, which a browser opens */
} CpmAnswer;

/* Never fails: what goes wrong becomes an answer of 500. The body is palloc'd. */
extern void cpm_answer(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer);

#endif							/* CPM_HTTP_ANSWER_H */
