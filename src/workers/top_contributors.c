/* SPDX-License-Identifier: PostgreSQL */
/*
 * top_contributors.c
 *		Who contributes most to a metric.
 *
 * For a metric that counts connections, the pools with most of them; for one of
 * age, the oldest session; for blocked sessions, the head of the longest chain;
 * for slow statements and for rates, the pools that they came from. Names no SQL text. The
 * names of roles and databases are those that sessions brought when they opened:
 * a worker without catalogs knows no others.
 */
#include "postgres.h"

#include "base/pool.h"
#include "base/session.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "counters/pool_table.h"
#include "events/slow_statements.h"
#include "live/backends.h"
#include "live/lock_waits.h"
#include "live/prepared_xacts.h"
#include "rules/lock_chains.h"
#include "samples/pooler_state.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "workers/pgbouncer_queues.h"
#include "workers/policy_violations.h"
#include "workers/pool_rates.h"
#include "workers/top_contributors.h"

#define POOLS_NAMED 3
#define MOST_WAITS 100			/* lock waits looked at: a longer queue takes too long */
#define SLOW_SPAN_US (60 * USECS_PER_SEC)

typedef struct Search
{
	CpmMetricId metric;
	TimestampTz now;
	CpmAges		ages;
	int		   *by_pool;		/* by index of counters/pool_table; the last is of no pool */
	int			pools;
	CpmPoolersAsked asked;
	CpmSession	oldest;			/* by oldest_since */
	TimestampTz oldest_since;	/* 0: none found */
} Search;

/* Does this session count for the metric, or hold a slot that another wants? */
static bool
contributes(const CpmSession *session, const Search *search)
{
	int			pooler;

	switch (search->metric)
	{
		case CPM_TOTAL_CONNECTIONS:
		case CPM_REJECTED_CONNECTIONS:
		case CPM_EXHAUSTION_SECONDS:
			return true;
		case CPM_OLDEST_TRANSACTION_SECONDS:
			return !session->exempt && session->xact_start != 0;
		case CPM_DIRECT_CONNECTIONS:
			return session->state != CPM_STATE_DISABLED &&
				cpm_pooling_of(session, &search->asked, &pooler) == CPM_POOLING_DIRECT;
		default:
			return cpm_session_counts(search->metric, session, search->now, &search->ages);
	}
}

static bool
is_by_age(CpmMetricId id)
{
	return id == CPM_LONG_TRANSACTIONS || id == CPM_OLDEST_TRANSACTION_SECONDS ||
		id == CPM_LEAK_SUSPECTS || id == CPM_LONG_QUERIES;
}

static TimestampTz
since_of(const CpmSession *session, CpmMetricId id)
{
	switch (id)
	{
		case CPM_LEAK_SUSPECTS:
			return cpm_suspect_since(session);
		case CPM_LONG_QUERIES:
			return session->query_start;
		default:
			return session->xact_start;
	}
}

static void
add_contribution(const CpmSession *session, void *arg)
{
	Search	   *search = arg;
	TimestampTz since = since_of(session, search->metric);
	int			pool;

	if (!contributes(session, search))
		return;
	pool = cpm_slot_pool(session->proc_number, session->pid);
	search->by_pool[pool >= 0 && pool < search->pools ? pool : search->pools]++;
	if (search->oldest_since == 0 || since < search->oldest_since)
	{
		search->oldest = *session;
		search->oldest_since = since;
	}
}

/* The index of the largest count; -1 when all are zero. */
static int
largest(const int *counts, int count)
{
	int			found = 0;

	for (int i = 1; i < count; i++)
		if (counts[i] > counts[found])
			found = i;
	return counts[found] > 0 ? found : -1;
}

/* "web 18 (shop in shopdb)", the largest first; what was named is counted no more. */
static void
name_pools(Search *search, const char *prefix, char *buffer, size_t size)
{
	size_t		used = 0;

	buffer[0] = '\0';
	for (int i = 0; i < POOLS_NAMED && used < size; i++)
	{
		int			pool = largest(search->by_pool, search->pools + 1);
		const char *before = i == 0 ? prefix : ", ";
		CpmPoolName name;

		if (pool < 0)
			break;
		if (cpm_pool_name(pool, &name))
			used += snprintf(buffer + used, size - used, "%s%s %d (%s in %s)", before,
							 cpm_application_label(name.application_name), search->by_pool[pool],
							 quote_identifier(name.role), quote_identifier(name.database));
		else
			used += snprintf(buffer + used, size - used, "%ssessions that are not open yet %d", before,
							 search->by_pool[pool]);
		search->by_pool[pool] = 0;
	}
}

/* A slow statement has the names of its session, not the index of its pool. */
static void
look_at_slow_statement(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	Search	   *search = arg;
	CpmPoolName wanted = slow->session;
	CpmPoolName name;

	if (search->now - slow->finished_at > SLOW_SPAN_US)
		return;
	cpm_pool_application(wanted.application_name, slow->session.application_name,
						 cpm_application_grouping);
	for (int i = 0; i < search->pools; i++)
	{
		if (cpm_pool_name(i, &name) && memcmp(&name, &wanted, sizeof(name)) == 0)
		{
			search->by_pool[i]++;
			return;
		}
	}
}

/* "backoffice (analyst in shop)" */
static char *
session_name(const CpmSession *session)
{
	CpmPoolName name;

	if (!cpm_pool_name(cpm_slot_pool(session->proc_number, session->pid), &name))
		return pstrdup(cpm_application_label(session->application_name));
	return cpm_pool_label(&name);
}

/* The oldest prepared transaction, when the metric counts those. */
static bool
oldest_prepared(const Search *search, CpmPrepared *oldest)
{
	CpmPrepared *list;
	int			count;

	if (search->metric != CPM_LEAK_SUSPECTS && search->metric != CPM_OLDEST_TRANSACTION_SECONDS)
		return false;
	count = cpm_prepared_xacts_list(&list);
	for (int i = 0; i < count; i++)
		if (i == 0 || list[i].prepared_at < oldest->prepared_at)
			*oldest = list[i];
	return count > 0;
}

static void
name_oldest(const Search *search, char *buffer, size_t size)
{
	CpmPrepared prepared;

	if (oldest_prepared(search, &prepared) &&
		(search->oldest_since == 0 || prepared.prepared_at < search->oldest_since))
		snprintf(buffer, size, "The oldest is the prepared transaction %u, for " INT64_FORMAT " s",
				 prepared.xid, cpm_age_us(search->now, prepared.prepared_at) / USECS_PER_SEC);
	else if (search->oldest_since != 0)
		snprintf(buffer, size, "The oldest is pid %d of %s, for " INT64_FORMAT " s",
				 search->oldest.pid, session_name(&search->oldest),
				 cpm_age_us(search->now, search->oldest_since) / USECS_PER_SEC);
	else
		buffer[0] = '\0';
}

static void
note_session(const CpmSession *session, void *arg)
{
	CpmSession *wanted = arg;

	if (session->pid == wanted->pid)
		*wanted = *session;
}

/* The head that most waits lead to, and how many; false when there is none. */
static bool
busiest_head(int *busiest, int *tail)
{
	CpmLockWait *waits;
	int			count = cpm_lock_waits(MOST_WAITS, &waits);
	int		   *heads = palloc((count + 1) * sizeof(int));

	*tail = 0;
	cpm_root_blockers(waits, count, heads);
	for (int i = 0; i < count; i++)
	{
		int			its_tail = 0;

		for (int j = 0; j < count && heads[i] != CPM_NO_HEAD; j++)
			its_tail += (heads[j] == heads[i]);
		if (its_tail > *tail)
		{
			*tail = its_tail;
			*busiest = heads[i];
		}
	}
	return *tail > 0;
}

static void
name_root_blocker(char *buffer, size_t size)
{
	CpmSession	head = {.proc_number = -1};
	int			tail;

	buffer[0] = '\0';
	if (!busiest_head(&head.pid, &tail))
		return;
	if (head.pid == 0)
	{
		snprintf(buffer, size, "A prepared transaction holds up %s%d sessions",
				 tail >= MOST_WAITS ? "at least " : "", tail);
		return;
	}
	cpm_backends_scan(false, note_session, &head);
	snprintf(buffer, size, "Pid %d of %s holds up %s%d sessions", head.pid,
			 session_name(&head), tail >= MOST_WAITS ? "at least " : "", tail);
}

/* ". Against their policy: web (shop in shopdb) over_max" */
static void
add_breaches(char *buffer, size_t size, TimestampTz now)
{
	char		breaches[200];
	size_t		used = strlen(buffer);

	cpm_describe_violations(breaches, sizeof(breaches), now);
	if (breaches[0] != '\0')
		snprintf(buffer + used, size - used, "%sAgainst their policy: %s", used > 0 ? ". " : "", breaches);
}

void
cpm_find_top_contributors(CpmMetricId id, char *buffer, size_t size)
{
	Search		search = {.metric = id, .now = GetCurrentTimestamp(),
	.ages = cpm_settings_ages()};

	if (id == CPM_BLOCKED_SESSIONS)
	{
		name_root_blocker(buffer, size);
		return;
	}
	if (id == CPM_POOL_WAITING_CLIENTS)
	{
		cpm_describe_queues(buffer, size);
		return;
	}
	search.asked = cpm_poolers_asked(search.now);
	search.pools = cpm_pools_slots();
	search.by_pool = palloc0((search.pools + 1) * sizeof(int));
	if (id == CPM_SLOW_STATEMENTS)
	{
		cpm_slow_statements_scan(look_at_slow_statement, &search);
		name_pools(&search, "Most of the last minute's from: ", buffer, size);
		return;
	}
	if (cpm_pool_rates_name(id) != NULL)
	{
		cpm_pool_rates_get(id, search.by_pool, search.pools);
		name_pools(&search, psprintf("Most of the last minute's %s from: ", cpm_pool_rates_name(id)), buffer, size);
		return;
	}
	cpm_backends_scan(false, add_contribution, &search);
	if (is_by_age(id))
		name_oldest(&search, buffer, size);
	else
	{
		name_pools(&search, "Largest pools: ", buffer, size);
		if (buffer[0] != '\0')
			add_breaches(buffer, size, search.now);
	}
}
