/* SPDX-License-Identifier: PostgreSQL */
/*
 * top_contributors.c
 *		Names the sessions or pools that contribute most to a metric.
 *
 * The metric determines which contributors are named:
 *
 *		ages						the oldest session or prepared transaction
 *		blocked_sessions			the root blocker of the most waits
 *		pool_waiting_clients		the longest queues of PgBouncer
 *		slow_statements				the pools with the most of them
 *		rates of workers/pool_rates	the pools with the largest contributions
 *		all others					the largest pools
 *
 * The text contains no SQL.
 *
 * A worker has no catalogs, so the names of roles and databases are those that each session stored
 * when it opened.
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
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "workers/pgbouncer_queues.h"
#include "workers/policy_violations.h"
#include "workers/pool_rates.h"
#include "workers/top_contributors.h"

#define MAX_POOLS_NAMED 3
#define MAX_WAITS 100			/* lock waits examined; the cost grows with their square */
#define SLOW_WINDOW_US (60 * USECS_PER_SEC)

typedef struct NamedPool
{
	CpmPoolName name;			/* hash key, as bytes */
	int			index;			/* of counters/pool_table */
} NamedPool;

typedef struct ContributorSearch
{
	CpmMetricId metric;
	TimestampTz now;
	CpmAges		ages;
	int		   *by_pool;		/* contributions by index of counters/pool_table; by_pool[pools]
								 * is for sessions without a pool */
	int			pools;
	HTAB	   *names;			/* of NamedPool; for slow_statements only */
	CpmPoolersFreshness freshness;	/* of the consoles, to classify sessions */
	CpmSession	oldest;
	TimestampTz oldest_since;	/* since_of() the oldest session; 0: none found */
} ContributorSearch;

/*
 * Return true if the session contributes to the metric. When connections are exhausted, every
 * session does, because it holds a slot that another client needs.
 */
static bool
contributes(const CpmSession *session, const ContributorSearch *search)
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
				cpm_pooling_of(session, &search->freshness, &pooler) == CPM_POOLING_DIRECT;
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

/*
 * Return the time from which the metric measures the age of the session. If the metric does not
 * depend on an age, the result is meaningless, possibly 0, and the oldest session is ignored.
 */
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

/* Add a session to the contributions of its pool, and store it if it is the oldest so far. */
static void
add_contribution(const CpmSession *session, void *arg)
{
	ContributorSearch *search = arg;
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

/* Return the index of the largest count; -1 if all are zero. */
static int
largest(const int *counts, int count)
{
	int			found = 0;

	for (int i = 1; i < count; i++)
		if (counts[i] > counts[found])
			found = i;
	return counts[found] > 0 ? found : -1;
}

/*
 * Write up to three pools and their counts to buffer, the largest first, as in
 * "web 18 (shop in shopdb)". Sets the counts of these pools to zero.
 */
static void
describe_largest_pools(ContributorSearch *search, const char *prefix, char *buffer, size_t size)
{
	size_t		used = 0;

	buffer[0] = '\0';
	for (int i = 0; i < MAX_POOLS_NAMED && used < size; i++)
	{
		int			pool = largest(search->by_pool, search->pools + 1);
		const char *separator = i == 0 ? prefix : ", ";
		CpmPoolName name;

		if (pool < 0)
			break;
		if (cpm_pool_name(pool, &name))
			used += snprintf(buffer + used, size - used, "%s%s %d (%s in %s)", separator,
							 cpm_application_label(name.application_name), search->by_pool[pool],
							 quote_identifier(name.role), quote_identifier(name.database));
		else
			used += snprintf(buffer + used, size - used, "%ssessions that are not open yet %d",
							 separator, search->by_pool[pool]);
		search->by_pool[pool] = 0;
	}
}

/* Return a hash table of all pools, from CpmPoolName to the index of the pool. Palloc'd. */
static HTAB *
index_of_names(int pools)
{
	HASHCTL		by_name = {.keysize = sizeof(CpmPoolName), .entrysize = sizeof(NamedPool)};
	HTAB	   *names;

	by_name.hcxt = CurrentMemoryContext;
	names = hash_create("connpool_monitor pool names", pools, &by_name,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < pools; i++)
	{
		CpmPoolName name;

		if (cpm_pool_name(i, &name))
			((NamedPool *) hash_search(names, &name, HASH_ENTER, NULL))->index = i;
	}
	return names;
}

/*
 * Add a recent slow statement to the contributions of its pool. The entry in the log has the
 * names of the session but no index, so look up the pool by its names.
 */
static void
count_slow_statement(const void *entry, void *arg)
{
	const CpmSlowStatement *slow = entry;
	ContributorSearch *search = arg;
	CpmPoolName wanted = slow->session;
	const NamedPool *pool;

	/* a time in the future is from before the clock was set back */
	if (search->now - slow->finished_at > SLOW_WINDOW_US || slow->finished_at > search->now)
		return;
	cpm_pool_application(wanted.application_name, slow->session.application_name,
						 cpm_application_grouping);
	pool = hash_search(search->names, &wanted, HASH_FIND, NULL);
	if (pool != NULL)
		search->by_pool[pool->index]++;
}

/*
 * Return the label of the session's pool, as in "backoffice (analyst in shop)", or only that of
 * its application if it has no pool. Palloc'd.
 */
static char *
session_name(const CpmSession *session)
{
	CpmPoolName name;

	if (!cpm_pool_name(cpm_slot_pool(session->proc_number, session->pid), &name))
		return pstrdup(cpm_application_label(session->application_name));
	return cpm_pool_label(&name);
}

/*
 * Set *oldest to the oldest prepared transaction. Returns false if there is none, or if the metric
 * does not count prepared transactions.
 */
static bool
oldest_prepared(const ContributorSearch *search, CpmPrepared *oldest)
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
describe_oldest(const ContributorSearch *search, char *buffer, size_t size)
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

/* Copy the session to *arg if its pid is the one that *arg already has. */
static void
copy_if_wanted(const CpmSession *session, void *arg)
{
	CpmSession *wanted = arg;

	if (session->pid == wanted->pid)
		*wanted = *session;
}

/*
 * Find the root blocker that holds up the most client sessions, directly or through other waiters.
 * Returns the number of these sessions; 0 if there is no blocker. *pid is 0 for a prepared
 * transaction. Sets *is_limited to true if there may be more waits than were examined.
 */
static int
find_top_blocker(int *pid, bool *is_limited)
{
	CpmLockWait *waits;
	int			count = cpm_lock_waits(MAX_WAITS, &waits);
	int		   *roots = palloc((count + 1) * sizeof(int));
	int			most_waiters = 0;

	*is_limited = count >= MAX_WAITS;
	cpm_root_blockers(waits, count, roots);
	for (int i = 0; i < count; i++)
	{
		int			waiters = 0;

		for (int j = 0; j < count && roots[i] != CPM_NO_ROOT_BLOCKER; j++)
			waiters += waits[j].is_client && roots[j] == roots[i];
		if (waiters > most_waiters)
		{
			most_waiters = waiters;
			*pid = roots[i];
		}
	}
	return most_waiters;
}

static void
describe_root_blocker(char *buffer, size_t size)
{
	CpmSession	blocker = {.proc_number = -1};
	bool		is_limited;
	int			waiters = find_top_blocker(&blocker.pid, &is_limited);
	const char *at_least = is_limited ? "at least " : "";
	const char *sessions = waiters == 1 ? "session" : "sessions";

	buffer[0] = '\0';
	if (waiters == 0)
		return;
	if (blocker.pid == 0)
	{
		snprintf(buffer, size, "A prepared transaction holds up %s%d %s", at_least, waiters,
				 sessions);
		return;
	}
	cpm_backends_scan(CPM_SCAN_STATES, copy_if_wanted, &blocker);
	snprintf(buffer, size, "Pid %d of %s holds up %s%d %s", blocker.pid,
			 session_name(&blocker), at_least, waiters, sessions);
}

/* Append pools that violate their policy, as in "Against their policy: web (...) over_max". */
static void
append_violations(char *buffer, size_t size, TimestampTz now)
{
	char		violations[200];
	size_t		used = strlen(buffer);

	cpm_describe_violations(violations, sizeof(violations), now);
	if (violations[0] != '\0')
		snprintf(buffer + used, size - used, "%sAgainst their policy: %s",
				 used > 0 ? ". " : "", violations);
}

void
cpm_find_top_contributors(CpmMetricId id, char *buffer, size_t size)
{
	ContributorSearch search = {.metric = id, .now = GetCurrentTimestamp(),
	.ages = cpm_settings_ages()};

	if (id == CPM_BLOCKED_SESSIONS)
	{
		describe_root_blocker(buffer, size);
		return;
	}
	if (id == CPM_POOL_WAITING_CLIENTS)
	{
		cpm_describe_queues(buffer, size);
		return;
	}
	search.freshness = cpm_poolers_freshness();
	search.pools = cpm_pool_slots();
	search.by_pool = palloc0((search.pools + 1) * sizeof(int));
	if (id == CPM_SLOW_STATEMENTS)
	{
		search.names = index_of_names(search.pools);
		cpm_slow_statements_scan(count_slow_statement, &search);
		describe_largest_pools(&search, "Most slow statements in the last minute: ", buffer, size);
		return;
	}
	if (cpm_pool_rates_unit(id) != NULL)
	{
		cpm_pool_rates_get(id, search.by_pool, search.pools);
		describe_largest_pools(&search, psprintf("Most %s in the last minute: ",
												 cpm_pool_rates_unit(id)), buffer, size);
		return;
	}
	cpm_backends_scan(CPM_SCAN_STATES, add_contribution, &search);
	if (is_by_age(id))
		describe_oldest(&search, buffer, size);
	else
	{
		describe_largest_pools(&search, "Largest pools: ", buffer, size);
		if (buffer[0] != '\0')
			append_violations(buffer, size, search.now);
	}
}
