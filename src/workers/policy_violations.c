/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy_violations.c
 *		Which pools do not keep their policy, for the message of an alert.
 */
#include "postgres.h"

#include "base/pool.h"
#include "counters/backend_counters.h"
#include "counters/pool_owners.h"
#include "counters/pool_table.h"
#include "live/backends.h"
#include "rules/policy.h"
#include "workers/policy_violations.h"

#define POOLS_NAMED 3

typedef struct Breaches
{
	TimestampTz now;
	int			pools;
	unsigned int *by_pool;		/* bits by CpmViolation */
} Breaches;

static void
check_session(const CpmSession *session, void *arg)
{
	Breaches   *breaches = arg;
	CpmSlotSession counted;

	if (cpm_slot_session(session->proc_number, &counted) && counted.pid == session->pid &&
		counted.pool >= 0 && counted.pool < breaches->pools)
		breaches->by_pool[counted.pool] |= cpm_session_violations(&counted, session, breaches->now);
}

/*
 * What a pool violates; 0 for one that has no session, of which a worker without catalogs
 * cannot tell whether its role is still there.
 */
static unsigned int
session_violations(const Breaches *breaches, int index, const CpmPoolName *name)
{
	CpmPolicy	policy;
	uint32		generation;
	uint32		connections;

	if (!cpm_pool_policy(index, &policy) ||
		!cpm_pool_generation(index, &generation, &connections) || connections == 0)
		return 0;
	return breaches->by_pool[index] |
		cpm_pool_violations(&policy, (int) connections, cpm_slots_of_owner(cpm_pool_owner(name)));
}

static size_t
describe_pool(char *buffer, size_t size, const CpmPoolName *name, unsigned int violations)
{
	size_t		used = strlcpy(buffer, cpm_pool_label(name), size);
	const char *before = " ";

	for (int i = 0; i < CPM_VIOLATIONS && used < size; i++)
	{
		if ((violations & (1U << i)) == 0)
			continue;
		used += snprintf(buffer + used, size - used, "%s%s", before, cpm_violation_name(i));
		before = ", ";
	}
	return used;
}

void
cpm_describe_violations(char *buffer, size_t size, TimestampTz now)
{
	Breaches	breaches = {.now = now, .pools = cpm_pools_slots()};
	size_t		used = 0;
	int			named = 0;

	buffer[0] = '\0';
	breaches.by_pool = palloc0(breaches.pools * sizeof(unsigned int));
	cpm_backends_scan(false, check_session, &breaches);
	for (int i = 0; i < breaches.pools && named < POOLS_NAMED && used < size; i++)
	{
		CpmPoolName name;
		unsigned int violations = cpm_pool_name(i, &name) ? session_violations(&breaches, i, &name) : 0;

		if (violations == 0)
			continue;
		if (named++ > 0)
			used += snprintf(buffer + used, size - used, "; ");
		if (used < size)
			used += describe_pool(buffer + used, size - used, &name, violations);
	}
}
