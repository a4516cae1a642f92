/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy.c
 *		Detects violations of the limits that are set for a pool.
 *
 * A pool can close a session only while the session is idle. Therefore a session violates
 * pool_max_lifetime only if its pool could have closed it at that age and did not: the session is
 * idle now, or it exceeded that age before its current transaction began.
 */
#include "postgres.h"

#include "rules/policy.h"

/* Return true if the value exceeds the limit; false if the limit is 0, which means no limit. */
static bool
is_over(int limit, int64 value)
{
	return limit > 0 && value > limit;
}

/*
 * Return true if the session violates pool_max_lifetime; false if its state is unknown, because
 * xact_start then does not show when the session was last idle.
 */
static bool
has_lived_too_long(int limit_ms, const CpmSession *session, TimestampTz now)
{
	TimestampTz last_idle = session->xact_start != 0 ? session->xact_start : now;
	bool		is_known = session->state == CPM_STATE_IDLE || cpm_is_active(session) ||
		cpm_is_idle_in_transaction(session);

	return is_known && is_over(limit_ms, cpm_age_us(last_idle, session->opened_at) / 1000);
}

unsigned int
cpm_session_violations(const CpmSlotSession *slot, const CpmSession *session, TimestampTz now)
{
	const int  *limit = slot->policy.limit;
	unsigned int violations = 0;

	if (session->state == CPM_STATE_IDLE &&
		is_over(limit[CPM_POOL_IDLE_TIMEOUT], cpm_age_us(now, session->state_change) / 1000))
		violations |= 1U << CPM_IDLE_TOO_LONG;
	if (has_lived_too_long(limit[CPM_POOL_MAX_LIFETIME], session, now))
		violations |= 1U << CPM_LIVED_TOO_LONG;
	if (is_over(limit[CPM_POOL_MAX_USES], (int64) slot->counts.of[CPM_TRANSACTIONS]))
		violations |= 1U << CPM_USED_TOO_OFTEN;
	if (is_over(limit[CPM_POOL_CONNECTION_TIMEOUT], slot->setup_us / 1000))
		violations |= 1U << CPM_SLOW_TO_CONNECT;
	return violations;
}

unsigned int
cpm_pool_violations(const CpmPolicy *policy, int connections, int role_connections)
{
	unsigned int violations = 0;

	if (connections > 0 && is_over(policy->limit[CPM_POOL_MAX], role_connections))
		violations |= 1U << CPM_OVER_MAX;
	if (role_connections < policy->limit[CPM_POOL_MIN])
		violations |= 1U << CPM_UNDER_MIN;
	return violations;
}

const char *
cpm_violation_name(CpmViolation violation)
{
	static const char *const names[CPM_VIOLATIONS] = {
		"over_max", "under_min", "idle_too_long", "lived_too_long", "used_too_often",
		"slow_to_connect",
	};

	return names[violation];
}
