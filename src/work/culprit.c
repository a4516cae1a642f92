/*
 * culprit.c
 *		Who contributes most to a metric.
 *
 * For a metric that counts connections, the applications with most of them;
 * for one of age, the oldest session; for blocked sessions, the head of the
 * longest chain. Names no SQL text. Works without catalogs, so it knows
 * application names and pids, not names of roles and databases.
 */
#include "postgres.h"

#include "base/settings.h"
#include "judge/lock_chains.h"
#include "store/activity.h"
#include "store/lock_waits.h"
#include "store/prepared.h"
#include "utils/timestamp.h"
#include "work/culprit.h"

#define MOST_APPLICATIONS 256	/* counted apart; more are not told apart */
#define APPLICATIONS_NAMED 3
#define MOST_WAITS 100			/* lock waits looked at: a longer queue takes too long */

typedef struct ApplicationCount
{
	char		name[NAMEDATALEN];
	int			connections;
} ApplicationCount;

typedef struct Search
{
	CpmMetricId metric;
	TimestampTz now;
	CpmAges		ages;
	ApplicationCount *applications;
	int			application_count;
	CpmSession	oldest;			/* by oldest_since */
	TimestampTz oldest_since;	/* 0: none found */
} Search;

/* Does this session count for the metric, or hold a slot that another wants? */
static bool
contributes(const CpmSession *session, const Search *search)
{
	switch (search->metric)
	{
		case CPM_TOTAL_CONNECTIONS:
		case CPM_REJECTED_CONNECTIONS:
		case CPM_CONNECTIONS_PER_SECOND:
		case CPM_EXHAUSTION_SECONDS:
			return true;
		case CPM_OLDEST_TRANSACTION_SECONDS:
			return !session->exempt && session->xact_start != 0;
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
			return session->state_change;
		case CPM_LONG_QUERIES:
			return session->query_start;
		default:
			return session->xact_start;
	}
}

static void
count_application(Search *search, const char *name)
{
	for (int i = 0; i < search->application_count; i++)
	{
		if (strcmp(search->applications[i].name, name) == 0)
		{
			search->applications[i].connections++;
			return;
		}
	}
	if (search->application_count == MOST_APPLICATIONS)
		return;
	strlcpy(search->applications[search->application_count].name, name, NAMEDATALEN);
	search->applications[search->application_count++].connections = 1;
}

static void
look_at_session(const CpmSession *session, void *arg)
{
	Search	   *search = arg;
	TimestampTz since = since_of(session, search->metric);

	if (!contributes(session, search))
		return;
	count_application(search, session->application_name);
	if (search->oldest_since == 0 || since < search->oldest_since)
	{
		search->oldest = *session;
		search->oldest_since = since;
	}
}

static int
compare_counts(const void *a, const void *b)
{
	const ApplicationCount *x = a;
	const ApplicationCount *y = b;

	if (x->connections != y->connections)
		return y->connections - x->connections;
	return strcmp(x->name, y->name);
}

static const char *
shown_name(const char *application_name)
{
	return application_name[0] != '\0' ? application_name : "(no application name)";
}

static void
name_applications(Search *search, char *buffer, size_t size)
{
	size_t		used = strlcpy(buffer, "Most by application: ", size);

	if (search->application_count == 0)
	{
		buffer[0] = '\0';
		return;
	}
	qsort(search->applications, search->application_count, sizeof(ApplicationCount),
		  compare_counts);
	for (int i = 0; i < Min(search->application_count, APPLICATIONS_NAMED) && used < size; i++)
		used += snprintf(buffer + used, size - used, "%s%s %d", i > 0 ? ", " : "",
						 shown_name(search->applications[i].name),
						 search->applications[i].connections);
}

/* The oldest prepared transaction, when the metric counts those. */
static bool
oldest_prepared(const Search *search, CpmPrepared *oldest)
{
	CpmPrepared *list;
	int			count;

	if (search->metric != CPM_LEAK_SUSPECTS && search->metric != CPM_OLDEST_TRANSACTION_SECONDS)
		return false;
	count = cpm_prepared_list(&list);
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
				 search->oldest.pid, shown_name(search->oldest.application_name),
				 cpm_age_us(search->now, search->oldest_since) / USECS_PER_SEC);
	else
		buffer[0] = '\0';
}

typedef struct NamedPid
{
	int			pid;
	char		application_name[NAMEDATALEN];
} NamedPid;

static void
note_name(const CpmSession *session, void *arg)
{
	NamedPid   *named = arg;

	if (session->pid == named->pid)
		strlcpy(named->application_name, session->application_name, NAMEDATALEN);
}

/* The head that most waits lead to, and how many; false when there is none. */
static bool
busiest_head(int *busiest, int *tail)
{
	CpmLockWait *waits;
	int			count = cpm_lock_waits(MOST_WAITS, &waits);
	int		   *heads = palloc((count + 1) * sizeof(int));

	*tail = 0;
	cpm_chain_heads(waits, count, heads);
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
	NamedPid	head = {0};
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
	cpm_activity_scan(false, note_name, &head);
	snprintf(buffer, size, "Pid %d of %s holds up %s%d sessions", head.pid,
			 shown_name(head.application_name), tail >= MOST_WAITS ? "at least " : "", tail);
}

void
cpm_find_culprit(CpmMetricId id, char *buffer, size_t size)
{
	Search		search = {.metric = id, .now = GetCurrentTimestamp(),
	.ages = cpm_settings_ages()};

	if (id == CPM_BLOCKED_SESSIONS)
	{
		name_root_blocker(buffer, size);
		return;
	}
	search.applications = palloc(MOST_APPLICATIONS * sizeof(ApplicationCount));
	cpm_activity_scan(false, look_at_session, &search);
	if (is_by_age(id))
		name_oldest(&search, buffer, size);
	else
		name_applications(&search, buffer, size);
}
