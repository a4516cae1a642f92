/* SPDX-License-Identifier: PostgreSQL */
/*
 * answer.c
 *		Computes the answer to a request from its method, path and headers.
 *
 * Checks, in this order: the peer's allowance (429), the number of Host headers (400), the token
 * (401), the host name if no token is required (403), the path (404), the method (405), repeated
 * and unknown arguments (400), and whether the server is ready (503). Requests with and without a
 * valid token have separate allowances, so that a flood without a token does not exhaust the
 * allowance of valid requests.
 *
 * The health document contains only counts and statuses, so a request for it needs no token, no
 * allowance and no particular host name. If there are more than PROBES_PER_SECOND such requests,
 * the server sends the last document again.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "base/rate_limit.h"
#include "http/allowance.h"
#include "http/answer.h"
#include "http/token.h"
#include "lib/stringinfo.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

#define PROBES_PER_SECOND 1000.0	/* new health documents, for all peers together */
#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json; charset=utf-8"
#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

typedef void (*Writer) (const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer);

/*
 * Browsers, Prometheus and load balancers may add arguments of their own, so the paths that they
 * request ignore arguments. A path of the API refuses arguments that it does not have, because a
 * document that ignores a misspelled one would look like the one that was requested.
 */
typedef struct Route
{
	const char *path;
	const char *type;			/* Content-Type */
	Writer		write;
	const char *arguments;		/* the answer to a wrong argument; NULL: the path ignores them */
	bool		is_public;		/* needs no token and no allowance */
	bool		is_always_ready;	/* served while the database system starts up */
} Route;

/* The rate limit of new health documents, and the last document, in TopMemoryContext. */
static CpmRateLimit health_limit;
static StringInfoData last_health;
static int	last_health_status;

static bool
is_json(const char *type)
{
	return strcmp(type, JSON) == 0;
}

/*
 * Replace the answer by a status and a message, as JSON if the route's type is JSON, otherwise as
 * plain text. The message must not need JSON escapes. For a JSON route, pass status 503 only while
 * the database system starts up, because the document then has the state "starting".
 */
static void
answer_text(CpmAnswer *answer, int status, const char *text)
{
	bool		as_json = answer->type != NULL && is_json(answer->type);

	answer->status = status;
	resetStringInfo(&answer->body);
	if (as_json)
		appendStringInfo(&answer->body, "{\"error\":\"%s\"%s}\n", text,
						 status == 503 ? ",\"state\":\"starting\"" : "");
	else
	{
		answer->type = TEXT;
		appendStringInfo(&answer->body, "%s\n", text);
	}
}

static void
keep_health(const CpmAnswer *answer)
{
	if (last_health.data == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

		initStringInfo(&last_health);
		MemoryContextSwitchTo(context);
	}
	resetStringInfo(&last_health);
	appendBinaryStringInfo(&last_health, answer->body.data, answer->body.len);
	last_health_status = answer->status;
}

static void
answer_health(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	if (last_health.data == NULL ||
		cpm_rate_limit_allows(&health_limit, PROBES_PER_SECOND, request->now_us))
	{
		answer->status = api->write_health(&answer->body) ? 200 : 503;
		appendStringInfoChar(&answer->body, '\n');
		keep_health(answer);
		return;
	}
	answer->status = last_health_status;
	appendBinaryStringInfo(&answer->body, last_health.data, last_health.len);
}

/* Return the quality (q) of one media range of an Accept header, in thousandths. */
static int
quality(const char *part, size_t length)
{
	for (size_t i = 0; i + 2 < length; i++)
		if (part[i] == ';')
		{
			size_t		q = i + 1;

			while (q < length && (part[q] == ' ' || part[q] == '\t'))
				q++;
			if (q + 2 < length && (part[q] == 'q' || part[q] == 'Q') && part[q + 1] == '=')
				return (int) (Min(Max(strtod(part + q + 2, NULL), 0), 1) * 1000);
		}
	return 1000;
}

/* Return the highest quality of a type in an Accept header; -1 if the header does not name it. */
static int
best_quality(const char *accept, const char *type)
{
	int			best = -1;

	for (const char *part = accept; *part != '\0';)
	{
		size_t		length = strcspn(part, ",");
		const char *name = part + strspn(part, " \t");

		/* strchr() also finds the terminating zero, which ends the last range */
		if (pg_strncasecmp(name, type, strlen(type)) == 0 &&
			strchr(" \t;,", name[strlen(type)]) != NULL)
			best = Max(best, quality(part, length));
		part += length;
		part += *part == ',';
	}
	return best;
}

/* Return true if the client prefers OpenMetrics to plain text, or accepts both equally. */
static bool
wants_openmetrics(const char *accept)
{
	int			openmetrics = accept == NULL ? -1 :
		best_quality(accept, "application/openmetrics-text");

	return openmetrics > 0 && openmetrics >= best_quality(accept, "text/plain");
}

static void
answer_metrics(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	bool		openmetrics = wants_openmetrics(request->accept);

	answer->type = openmetrics ? OPENMETRICS : PROMETHEUS;
	api->write_metrics(&answer->body, openmetrics);
}

static void
write_page(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	(void) api;
	(void) request;
	if (!cpm_page_write(&answer->body, answer->nonce))
		answer_text(answer, 503, "no random bytes are available");
}

static void
write_history(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	if (!api->write_history(&answer->body, request->metric, request->since, request->until))
		answer->status = 400;
}

static void
write_load(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	bool		is_pending;

	if (api->write_load(&answer->body, request->at, request->since, request->until, &is_pending))
		return;
	answer->status = is_pending ? 503 : 400;
	answer->retry = is_pending;
}

/* Define the writers of documents that do not depend on the request. */
#define WRITER(name) \
static void \
name(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer) \
{ \
	(void) request; \
	api->name(&answer->body); \
}

WRITER(write_status)
WRITER(write_pools)
WRITER(write_alerts)
WRITER(write_incidents)
WRITER(write_poolers)

#define NO_ARGUMENTS "this path has no arguments"
#define HISTORY_ARGUMENTS "the arguments of this path are metric, since and until"
#define LOAD_ARGUMENTS "the arguments of this path are at, since and until"

static const Route routes[] = {
	{"/health/database", JSON, answer_health, NULL, true, true},
	{"/metrics", PROMETHEUS, answer_metrics, NULL, false, false},
	{"/", "text/html; charset=utf-8", write_page, NULL, false, true},
	{"/api/status", JSON, write_status, NO_ARGUMENTS, false, false},
	{"/api/history", JSON, write_history, HISTORY_ARGUMENTS, false, false},
	{"/api/load", JSON, write_load, LOAD_ARGUMENTS, false, false},
	{"/api/pools", JSON, write_pools, NO_ARGUMENTS, false, false},
	{"/api/alerts", JSON, write_alerts, NO_ARGUMENTS, false, false},
	{"/api/incidents", JSON, write_incidents, NO_ARGUMENTS, false, false},
	{"/api/pgbouncer", JSON, write_poolers, NO_ARGUMENTS, false, false},
};

static const Route *
find_route(const char *path)
{
	for (size_t i = 0; i < lengthof(routes); i++)
		if (strcmp(routes[i].path, path) == 0)
			return &routes[i];
	return NULL;
}

/* Return true if the request has an argument that its route does not have and does not ignore. */
static bool
has_wrong_argument(const CpmRequest *request, const Route *route)
{
	bool		is_history = route->write == write_history;
	bool		is_load = route->write == write_load;
	bool		has_span = request->since != NULL || request->until != NULL;

	return route->arguments != NULL &&
		(request->has_unknown_argument ||
		 (request->metric != NULL && !is_history) ||
		 (request->at != NULL && !is_load) ||
		 (has_span && !is_history && !is_load));
}

/*
 * Return true if the host of a request is an IP address or localhost. If no token is required, the
 * server rejects requests for other names to prevent DNS rebinding: otherwise an attacker's web
 * site could make its own host name resolve to this machine, and its script in a visitor's browser
 * could read the documents.
 */
static bool
is_address(const char *host)
{
	char		name[INET6_ADDRSTRLEN];
	unsigned char address[sizeof(struct in6_addr)];
	size_t		length = host[0] == '[' ? strcspn(host + 1, "]") : strcspn(host, ":/");

	if (length >= sizeof(name))
		return false;
	memcpy(name, host + (host[0] == '['), length);
	name[length] = '\0';
	return pg_strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1 ||
		inet_pton(AF_INET6, name, address) == 1;
}

static void
answer_request(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	const Route *route = find_route(request->path);
	bool		is_public = route != NULL && route->is_public;
	bool		is_authorized = !cpm_token_is_required() ||
		cpm_token_matches(request->authorization);

	answer->is_authorized = is_authorized;
	answer->status = 200;
	answer->type = route ? route->type : TEXT;
	if (!is_public && !cpm_allowance_take(request->peer, is_authorized, request->now_us))
	{
		answer->retry = true;
		answer_text(answer, 429, "too many requests");
	}
	else if (request->needs_host && request->hosts == 0)
		answer_text(answer, 400, "an HTTP/1.1 request must have a Host header");
	else if (request->hosts > 1)
		answer_text(answer, 400, "a request must not have more than one Host header");
	else if (!is_public && !is_authorized)
	{
		answer->prompts_user = route != NULL && route->write == write_page;
		answer_text(answer, 401, "the token in http_token_file is required: "
					"Authorization: Bearer ...");
	}
	else if (!is_public && !cpm_token_is_required() &&
			 request->host != NULL && !is_address(request->host))
		answer_text(answer, 403, "without http_token_file, a request must name its host as an "
					"address or localhost");
	else if (route == NULL)
		answer_text(answer, 404, "there is no such path: "
					"see /health/database, /metrics, / and /api/status");
	else if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
		answer_text(answer, 405, "the method must be GET or HEAD");
	else if (request->repeats_argument)
		answer_text(answer, 400, "metric, at, since and until must be given at most once each");
	else if (has_wrong_argument(request, route))
		answer_text(answer, 400, route->arguments);
	else if (!route->is_always_ready && !api->is_ready())
	{
		answer->retry = true;
		answer_text(answer, 503, "the database system is starting up");
	}
	else
		route->write(api, request, answer);
}

void
cpm_answer(const CpmWorkerApi *api, const CpmRequest *request, CpmAnswer *answer)
{
	MemoryContext context = CurrentMemoryContext;

	memset(answer, 0, sizeof(*answer));
	PG_TRY();
	{
		initStringInfo(&answer->body);
		answer_request(api, request, answer);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		LWLockReleaseAll();
		AtEOXact_Files(false);
		EmitErrorReport();
		FlushErrorState();
		answer->status = 500;
		answer->type = TEXT;
		answer->body.len = 0;
	}
	PG_END_TRY();
}
