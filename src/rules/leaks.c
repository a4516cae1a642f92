/* SPDX-License-Identifier: PostgreSQL */
/*
 * leaks.c
 *		Which sessions and prepared transactions look forgotten.
 *
 * A session idle in transaction for too long is one by itself, and so is a
 * statement that has waited for its client for as long. An idle session is not:
 * pools keep idle ones on purpose. It is suspect when its pool (same database,
 * role and application) has opened a session since it went idle: a pool that had
 * it in hand would have used it. Not shortly after: a pool that fills
 * opens one after the other and uses none. Not when it waits for what others
 * notify or holds a lock for its application.
 */
#include "postgres.h"

#include "rules/leaks.h"

#define FILLING_SHARE 20		/* of leak_idle_age, in which a pool may still be filling */
#define LEAST_AGE_TO_FILL_US USECS_PER_MINUTE	/* who sets seconds wants to see it happen */

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
	if (strcmp(x->pool_application, y->pool_application) != 0)
		return strcmp(x->pool_application, y->pool_application);
	return (x->connected_at < y->connected_at) - (x->connected_at > y->connected_at);
}

static bool
same_pool(const CpmSession *x, const CpmSession *y)
{
	return x->database == y->database && x->role == y->role &&
		strcmp(x->pool_application, y->pool_application) == 0;
}

/* For how long after it went idle its pool may open others without making it suspect. */
static int64
filling_us(int64 leak_idle_us)
{
	return leak_idle_us >= LEAST_AGE_TO_FILL_US ? leak_idle_us / FILLING_SHARE : 0;
}

CpmLeakKind
cpm_leak_kind(const CpmSession *session, TimestampTz pool_opened, bool has_duty, TimestampTz now,
			  const CpmAges *ages)
{
	if (cpm_is_leaked_transaction(session, now, ages))
		return CPM_LEAK_IDLE_IN_TRANSACTION;
	if (cpm_is_kept_waiting_by_client(session, now, ages))
		return CPM_LEAK_WAITING_FOR_CLIENT;
	if (!session->exempt && session->state == CPM_STATE_IDLE &&
		cpm_age_us(now, session->state_change) > ages->leak_idle_us &&
		pool_opened > session->state_change + filling_us(ages->leak_idle_us) &&
		pool_opened <= now && !has_duty)
		return CPM_LEAK_IDLE;
	return CPM_NO_LEAK;
}

void
cpm_newest_of_pools(CpmSession *sessions, int count, TimestampTz *newest)
{
	int			first = 0;

	qsort(sessions, count, sizeof(CpmSession), compare_by_pool);
	for (int i = 0; i < count; i++)
	{
		if (!same_pool(&sessions[first], &sessions[i]))
			first = i;
		newest[i] = sessions[first].connected_at;
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
		case CPM_LEAK_WAITING_FOR_CLIENT:
			return "waiting_for_client";
		case CPM_NO_LEAK:
			break;
	}
	return "";
}
