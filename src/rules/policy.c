/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy.c
 *		Does a pool keep the limits that were set for it?
 *
 * A session that is in use is not taken back, however old it is: it has lived too
 * long only once it could have been closed and was not, because it is idle or
 * began its present transaction later than that.
 */
#include "postgres.h"

#include "rules/policy.h"

static bool
is_over(int limit, int64 value)
{
	return limit > 0 && value > limit;
}

static bool
lived_too_long(int limit_ms, const CpmSession *session, TimestampTz now)
{
	TimestampTz free_at = session->xact_start != 0 ? session->xact_start : now;
	bool		is_known = session->state == CPM_STATE_IDLE || cpm_is_active(session) ||
		cpm_is_idle_in_transaction(session);

	return is_known && session->connected_at != 0 && is_over(limit_ms, (free_at - session->connected_at) / 1000);
}

unsigned int
cpm_session_violations(const CpmSlotSession *counted, const CpmSession *session, TimestampTz now)
{
	const int  *limit = counted->policy.limit;
	unsigned int found = 0;

	if (session->state == CPM_STATE_IDLE &&
		is_over(limit[CPM_POOL_IDLE_TIMEOUT], cpm_age_us(now, session->state_change) / 1000))
		found |= 1U << CPM_IDLE_TOO_LONG;
	if (lived_too_long(limit[CPM_POOL_MAX_LIFETIME], session, now))
		found |= 1U << CPM_LIVED_TOO_LONG;
	if (is_over(limit[CPM_POOL_MAX_USES], (int64) counted->counts.of[CPM_TRANSACTIONS]))
		found |= 1U << CPM_USED_TOO_OFTEN;
	if (is_over(limit[CPM_POOL_CONNECTION_TIMEOUT], counted->setup_us / 1000))
		found |= 1U << CPM_SLOW_TO_CONNECT;
	return found;
}

unsigned int
cpm_pool_violations(const CpmPolicy *policy, int connections, int role_connections)
{
	unsigned int found = 0;

	if (connections > 0 && is_over(policy->limit[CPM_POOL_MAX], role_connections))
		found |= 1U << CPM_OVER_MAX;
	if (role_connections < policy->limit[CPM_POOL_MIN])
		found |= 1U << CPM_UNDER_MIN;
	return found;
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
