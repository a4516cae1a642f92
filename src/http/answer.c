/* SPDX-License-Identifier: PostgreSQL */
/*
 * answer.c
 *		What a request gets: from its method, path and headers to an answer.
 *
 * Checks, in this order: the peer's allowance (429), the Host header (400), the token (401),
 * access by name (403), the path (404), the method (405), and whether the server is ready (503).
 * Requests with and without a valid token have separate allowances, so a flood without a token
 * cannot exhaust the allowance of clients that have one.
 *
 * Health needs no token and no allowance, and answers to any host name, because it shows only
 * numbers. When probes exceed PROBES_PER_SECOND, it repeats its last answer.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "base/rate_limit.h"
#include "http/allowance.h"
#include "http/answer.h"
#include "http/token.h"
#include "lib/stringinfo.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

#define PROBES_PER_SECOND 1000.0	/* fresh health answers, for all peers together */
#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json; charset=utf-8"
#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

typedef void (*Writer) (const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer);

typedef struct Place
{
	const char *path;
	const char *type;
	Writer		write;
	bool		is_open;		/* asks for no token */
	bool		is_always_ready;	/* also before the server is */
} Place;

/* Limit on fresh health answers, and the last one, which lives in TopMemoryContext. */
static CpmRateLimit health_limit;
static StringInfoData last_health;
static int	last_health_status;

static bool
is_json(const char *type)
{
	return strcmp(type, JSON) == 0;
}

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
answer_health(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer)
{
	if (last_health.data == NULL || cpm_rate_limit_allows(&health_limit, PROBES_PER_SECOND, request->now_us))
	{
		answer->status = entry->write_health(&answer->body) == CPM_FIT ? 200 : 503;
		appendStringInfoChar(&answer->body, '\n');
		keep_health(answer);
		return;
	}
	answer->status = last_health_status;
	appendBinaryStringInfo(&answer->body, last_health.data, last_health.len);
}

/* The q of a part of Accept, in thousandths. */
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

/* The best q that Accept gives to a type; -1 when it does not name it. */
static int
quality_of(const char *accept, const char *type)
{
	int			best = -1;

	for (const char *part = accept; *part != '\0';)
	{
		size_t		length = strcspn(part, ",");
		const char *name = part + strspn(part, " \t");

		if (pg_strncasecmp(name, type, strlen(type)) == 0 && strchr(" \t;,", name[strlen(type)]) != NULL)
			best = Max(best, quality(part, length));
		part += length;
		part += *part == ',';
	}
	return best;
}

static bool
wants_openmetrics(const char *accept)
{
	int			openmetrics = accept ? quality_of(accept, "application/openmetrics-text") : -1;

	return openmetrics > 0 && openmetrics >= quality_of(accept, "text/plain");
}

static void
answer_metrics(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer)
{
	bool		openmetrics = wants_openmetrics(request->accept);

	answer->type = openmetrics ? OPENMETRICS : PROMETHEUS;
	entry->write_metrics(&answer->body, openmetrics);
}

static void
write_page(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer)
{
	(void) entry;
	(void) request;
	if (!cpm_page_write(&answer->body, answer->nonce))
		answer_text(answer, 503, "no randomness to be had");
}

static void
write_history(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer)
{
	if (!entry->write_history(&answer->body, request->metric, request->since, request->until))
		answer->status = 400;
}

/* Documents that need nothing of the request. */
#define WRITER(name) \
static void \
name(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer) \
{ \
	(void) request; \
	entry->name(&answer->body); \
}

WRITER(write_status)
WRITER(write_pools)
WRITER(write_alerts)
WRITER(write_poolers)

static const Place places[] = {
	{"/health/database", JSON, answer_health, true, true},
	{"/metrics", PROMETHEUS, answer_metrics, false, false},
	{"/", "text/html; charset=utf-8", write_page, false, true},
	{"/api/status", JSON, write_status, false, false},
	{"/api/history", JSON, write_history, false, false},
	{"/api/pools", JSON, write_pools, false, false},
	{"/api/alerts", JSON, write_alerts, false, false},
	{"/api/pgbouncer", JSON, write_poolers, false, false},
};

static const Place *
find_place(const char *path)
{
	for (size_t i = 0; i < lengthof(places); i++)
		if (strcmp(places[i].path, path) == 0)
			return &places[i];
	return NULL;
}

/*
 * A page somewhere else may have its name lead here, and read with its visitor's
 * browser what is meant for this machine only. It cannot do so with an address.
 */
static bool
is_address(const char *host)
{
	char		name[INET6_ADDRSTRLEN];
	unsigned char address[sizeof(struct in6_addr)];
	size_t		length = host[0] == '[' ? strcspn(host + 1, "]") : strcspn(host, ":");

	if (length >= sizeof(name))
		return false;
	memcpy(name, host + (host[0] == '['), length);
	name[length] = '\0';
	return pg_strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1 ||
		inet_pton(AF_INET6, name, address) == 1;
}

static void
decide(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer)
{
	const Place *place = find_place(request->path);
	bool		is_open = place != NULL && place->is_open;
	bool		is_authorized = !cpm_token_is_demanded() || cpm_token_fits(request->authorization);

	answer->status = 200;
	answer->type = place ? place->type : TEXT;
	if (!is_open && !cpm_allowance_take(request->peer, is_authorized, request->now_us))
	{
		answer->retry = true;
		answer_text(answer, 429, "too many requests");
	}
	else if (request->needs_host && request->host == NULL)
		answer_text(answer, 400, "an HTTP/1.1 request must have a Host header");
	else if (request->hosts > 1)
		answer_text(answer, 400, "a request must not have more than one Host header");
	else if (!is_open && !is_authorized)
	{
		answer->asks_user = place != NULL && place->write == write_page;
		answer_text(answer, 401, "this needs the token of http_token_file: Authorization: Bearer ...");
	}
	else if (!is_open && !cpm_token_is_demanded() && request->host != NULL && !is_address(request->host))
		answer_text(answer, 403, "without http_token_file this is asked by address, not by name");
	else if (place == NULL)
		answer_text(answer, 404, "there is nothing here: see /health/database, /metrics, / and /api/status");
	else if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
		answer_text(answer, 405, "only GET and HEAD are answered");
	else if (!place->is_always_ready && entry->fitness() == CPM_NOT_READY)
	{
		answer->retry = true;
		answer_text(answer, 503, "the database system is starting up");
	}
	else
		place->write(entry, request, answer);
}

void
cpm_answer(const CpmWorkerApi *entry, const CpmRequest *request, CpmAnswer *answer)
{
	MemoryContext context = CurrentMemoryContext;

	memset(answer, 0, sizeof(*answer));
	PG_TRY();
	{
		initStringInfo(&answer->body);
		decide(entry, request, answer);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		LWLockReleaseAll();
		EmitErrorReport();
		FlushErrorState();
		answer->status = 500;
		answer->type = TEXT;
		answer->body.len = 0;
	}
	PG_END_TRY();
}
