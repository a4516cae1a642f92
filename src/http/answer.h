/* SPDX-License-Identifier: PostgreSQL */
/*
 * answer.h
 *		Computes the answer to a request from its method, path and headers.
 */
#ifndef CPM_HTTP_ANSWER_H
#define CPM_HTTP_ANSWER_H

#include "export/worker_api.h"
#include "http/page.h"

struct sockaddr;

/* The parts of a request that an answer depends on. An absent header or argument is NULL. */
typedef struct CpmRequest
{
	const struct sockaddr *peer;
	const char *method;
	const char *path;
	const char *accept;
	const char *authorization;
	const char *host;			/* with the port, if any; a '/' or the end of the string ends it */
	int			hosts;			/* number of Host headers */
	bool		needs_host;		/* true for HTTP/1.1 */
	const char *metric;			/* argument of /api/history */
	const char *at;				/* argument of /api/load */
	const char *since;			/* arguments of /api/history and /api/load */
	const char *until;
	bool		repeats_argument;	/* one of these arguments was given more than once */
	bool		has_unknown_argument;	/* there is an argument with another name */
	int64		now_us;			/* monotonic time */
} CpmRequest;

typedef struct CpmAnswer
{
	bool		is_authorized;	/* the request carries the token, or needs none */
	int			status;
	const char *type;			/* Content-Type */
	StringInfoData body;
	char		nonce[CPM_NONCE_SIZE];	/* of the page; empty in other answers */
	bool		retry;			/* send Retry-After: 1 */
	bool		prompts_user;	/* 401 only: let the browser ask its user for the token */
} CpmAnswer;

/*
 * Compute the answer to a request; the body is palloc'd. Raises no error: logs an error and
 * answers with status 500.
 */
extern void cpm_answer(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer);

#endif							/* CPM_HTTP_ANSWER_H */
