/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy.h
 *		Detects violations of the limits that are set for a pool.
 */
#ifndef CPM_RULES_POLICY_H
#define CPM_RULES_POLICY_H

#include "base/session.h"
#include "base/slot_session.h"

/* One for each CpmLimit, in the same order. */
typedef enum CpmViolation
{
	CPM_OVER_MAX,
	CPM_UNDER_MIN,
	CPM_IDLE_TOO_LONG,
	CPM_LIVED_TOO_LONG,
	CPM_USED_TOO_OFTEN,
	CPM_SLOW_TO_CONNECT
} CpmViolation;

#define CPM_VIOLATIONS (CPM_SLOW_TO_CONNECT + 1)

/* Return the violation's name as views show it. */
extern const char *cpm_violation_name(CpmViolation violation);

/*
 * Return the violations of a session, as bits by CpmViolation. Never returns CPM_OVER_MAX or
 * CPM_UNDER_MIN, which concern all sessions of a role in a database. A value equal to its limit
 * is no violation. Pure.
 */
extern unsigned int cpm_session_violations(const CpmSlotSession *slot,
										   const CpmSession *session, TimestampTz now);

/*
 * Return whether a pool violates CPM_OVER_MAX or CPM_UNDER_MIN, as bits by CpmViolation.
 * connections is the number of the pool's own connections. role_connections is the number of all
 * connections of its role to its database, to which the limits apply. A pool without connections
 * never violates the maximum, because it does not contribute to the excess. Pure.
 */
extern unsigned int cpm_pool_violations(const CpmPolicy *policy, int connections,
										int role_connections);

#endif							/* CPM_RULES_POLICY_H */
