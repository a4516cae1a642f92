/* SPDX-License-Identifier: PostgreSQL */
/*
 * leaks.c
 *		Detects sessions that their applications seem to have forgotten.
 *
 * A session is a suspect if it has been idle in transaction, or if a statement in its transaction
 * has waited for the client, for longer than leak_age. A session that is idle outside a
 * transaction is no suspect by itself, because pools keep idle sessions on purpose. It is one if
 * it has been idle for longer than leak_idle_age and its pool (same database, role and
 * application) has opened another session meanwhile. The pool would not need that session if it
 * could still use the idle one.
 *
 * Two exceptions avoid false suspects. While a pool fills, it opens several sessions before it
 * uses any, so sessions opened shortly after this one became idle do not count. A session that
 * listens for notifications or holds an advisory lock is idle by design.
 */
#include "postgres.h"

#include "rules/leaks.h"

/*
 * A pool has a twentieth of leak_idle_age to fill. If leak_idle_age is below a minute, the pool
 * has no time to fill, because users set leak_idle_age that low only to try the detection.
 */
#define FILLING_DIVISOR 20
#define MIN_IDLE_AGE_TO_FILL_US USECS_PER_MINUTE

/* Order by pool, and within a pool the newest session first. */
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
	return (x->opened_at < y->opened_at) - (x->opened_at > y->opened_at);
}

static bool
same_pool(const CpmSession *x, const CpmSession *y)
{
	return x->database == y->database && x->role == y->role &&
		strcmp(x->pool_application, y->pool_application) == 0;
}

/*
 * Return the time that a pool has to fill, in microseconds. An idle session is not a suspect if
 * its pool has opened other sessions only within that time after the session became idle.
 */
static int64
filling_us(int64 leak_idle_us)
{
	return leak_idle_us >= MIN_IDLE_AGE_TO_FILL_US ? leak_idle_us / FILLING_DIVISOR : 0;
}

CpmLeakKind
cpm_leak_kind(const CpmSession *session, TimestampTz pool_opened, bool is_idle_by_design,
			  TimestampTz now, const CpmAges *ages)
{
	if (cpm_is_leaked_transaction(session, now, ages))
		return CPM_LEAK_IDLE_IN_TRANSACTION;
	if (cpm_is_kept_waiting_by_client(session, now, ages))
		return CPM_LEAK_WAITING_FOR_CLIENT;
	if (!session->exempt && session->state == CPM_STATE_IDLE &&
		cpm_age_us(now, session->state_change) > ages->leak_idle_us &&
		pool_opened > session->state_change + filling_us(ages->leak_idle_us) &&
		pool_opened <= now && !is_idle_by_design)
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
		newest[i] = sessions[first].opened_at;
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
