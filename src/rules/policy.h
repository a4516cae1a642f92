/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy.h
 *		Does a pool keep the limits that were set for it?
 */
#ifndef CPM_JUDGE_POLICY_H
#define CPM_JUDGE_POLICY_H

#include "base/session.h"
#include "base/slot_session.h"

/* In the order of the contract, which is that of the limits. */
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

extern const char *cpm_violation_name(CpmViolation violation);

/*
 * What a session violates, as bits by CpmViolation: never the first two, which
 * are of all sessions of a role in a database. A limit that is reached is kept.
 * Pure.
 */
extern unsigned int cpm_session_violations(const CpmSlotSession *counted, const CpmSession *session,
										   TimestampTz now);

/*
 * What a pool with so many connections violates, when its role has so many in its
 * database: the first two. One without a connection is not what makes them too
 * many. Pure.
 */
extern unsigned int cpm_pool_violations(const CpmPolicy *policy, int connections,
										int role_connections);

#endif							/* CPM_JUDGE_POLICY_H */
