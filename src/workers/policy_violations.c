/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy_violations.c
 *		Describes pools that violate their policy, in the message of an alert.
 */
#include "postgres.h"

#include "base/pool.h"
#include "counters/backend_counters.h"
#include "counters/pool_policies.h"
#include "counters/pool_table.h"
#include "live/backends.h"
#include "rules/policy.h"
#include "workers/policy_violations.h"

#define MAX_POOLS_NAMED 3

typedef struct PolicyScan
{
	TimestampTz now;
	int			pools;
	unsigned int *by_pool;		/* violations by each pool's sessions, as bits 1 << CpmViolation */
} PolicyScan;

/* Add the violations of one session to those of its pool. */
static void
collect_violations(const CpmSession *session, void *arg)
{
	PolicyScan *scan = arg;
	CpmSlotSession counted;

	if (cpm_slot_session(session->proc_number, &counted) && counted.pid == session->pid &&
		counted.pool >= 0 && counted.pool < scan->pools)
		scan->by_pool[counted.pool] |= cpm_session_violations(&counted, session, scan->now);
}

/*
 * Return the violations of a pool and its sessions, as bits 1 << CpmViolation; 0 for a pool
 * without sessions, because its role may have been dropped, and a worker without catalogs cannot
 * check that.
 */
static unsigned int
pool_violations(const PolicyScan *scan, int index, const CpmPoolName *name)
{
	CpmPolicy	policy;
	uint32		generation;
	uint32		connections;

	if (!cpm_pool_policy(index, &policy) ||
		!cpm_pool_generation(index, &generation, &connections) || connections == 0)
		return 0;
	return scan->by_pool[index] |
		cpm_pool_violations(&policy, (int) connections,
							cpm_slot_sessions_of_policy(cpm_policy_key(name)));
}

/* Write the pool and its violations to buffer; returns the length, as snprintf() does. */
static size_t
describe_pool(char *buffer, size_t size, const CpmPoolName *name, unsigned int violations)
{
	size_t		used = strlcpy(buffer, cpm_pool_label(name), size);
	const char *separator = " ";

	for (int i = 0; i < CPM_VIOLATIONS && used < size; i++)
	{
		if ((violations & (1U << i)) == 0)
			continue;
		used += snprintf(buffer + used, size - used, "%s%s", separator,
						 cpm_violation_name(i));
		separator = ", ";
	}
	return used;
}

void
cpm_describe_violations(char *buffer, size_t size, TimestampTz now)
{
	PolicyScan	scan = {.now = now, .pools = cpm_pool_slots()};
	size_t		used = 0;
	int			named = 0;

	buffer[0] = '\0';
	scan.by_pool = palloc0(scan.pools * sizeof(unsigned int));
	cpm_backends_scan(CPM_SCAN_STATES, collect_violations, &scan);
	for (int i = 0; i < scan.pools && named < MAX_POOLS_NAMED && used < size; i++)
	{
		CpmPoolName name;
		unsigned int violations = cpm_pool_name(i, &name) ?
			pool_violations(&scan, i, &name) : 0;

		if (violations == 0)
			continue;
		if (named++ > 0)
			used += snprintf(buffer + used, size - used, "; ");
		if (used < size)
			used += describe_pool(buffer + used, size - used, &name, violations);
	}
}
