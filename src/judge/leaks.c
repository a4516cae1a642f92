/*
 * leaks.c
 *		Which sessions and prepared transactions look forgotten.
 *
 * A session idle in transaction for too long is one by itself. An idle session
 * is not: pools keep idle ones on purpose. It is suspect when its pool (same
 * database, role and application) has opened a session since it went idle: a
 * pool that had it in hand would have used it.
 */
#include "postgres.h"

#include "judge/leaks.h"

/* By pool, and in the pool the session that was opened last comes first. */
static int
compare_by_pool(const void *a, const void *b)
{
	const CpmSession *x = a;
	const CpmSession *y = b;

	if (x->database != y->database)
		return x->database < y->database ? -1 : 1;
	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	if (strcmp(x->application_name, y->application_name) != 0)
		return strcmp(x->application_name, y->application_name);
	return (x->connected_at < y->connected_at) - (x->connected_at > y->connected_at);
}

static bool
same_pool(const CpmSession *x, const CpmSession *y)
{
	return x->database == y->database && x->role == y->role &&
		strcmp(x->application_name, y->application_name) == 0;
}

static CpmLeakKind
kind_of(const CpmSession *session, const CpmSession *newest_of_pool, TimestampTz now,
		const CpmAges *ages)
{
	if (cpm_is_leaked_transaction(session, now, ages))
		return CPM_LEAK_IDLE_IN_TRANSACTION;
	if (!session->exempt && session->state == CPM_STATE_IDLE &&
		cpm_age_us(now, session->state_change) > ages->leak_idle_us &&
		newest_of_pool->connected_at > session->state_change)
		return CPM_LEAK_IDLE;
	return CPM_NO_LEAK;
}

void
cpm_find_leaks(CpmSession *sessions, int count, TimestampTz now, const CpmAges *ages,
			   CpmLeakKind *kinds)
{
	int			newest = 0;

	qsort(sessions, count, sizeof(CpmSession), compare_by_pool);
	for (int i = 0; i < count; i++)
	{
		if (!same_pool(&sessions[newest], &sessions[i]))
			newest = i;
		kinds[i] = kind_of(&sessions[i], &sessions[newest], now, ages);
	}
}

const char *
cpm_leak_kind_name(CpmLeakKind kind)
{
	switch (kind)
	{
		case CPM_LEAK_IDLE_IN_TRANSACTION:
			return "idle_in_transaction";
		case CPM_LEAK_IDLE:
			return "idle";
		case CPM_LEAK_PREPARED:
			return "prepared";
		case CPM_NO_LEAK:
			break;
	}
	return "";
}
