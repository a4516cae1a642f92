/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy.h
 *		The limits that an administrator has set for the pools of a role or database.
 *
 * A plain value, read from the settings pool_max, pool_min and so on. Violations of limits are
 * reported; limits are never enforced.
 */
#ifndef CPM_POLICY_H
#define CPM_POLICY_H

/* The order is that of the columns of the views. */
typedef enum CpmLimit
{
	CPM_POOL_MAX,				/* connections of the role in the database */
	CPM_POOL_MIN,				/* connections of the role in the database */
	CPM_POOL_IDLE_TIMEOUT,		/* milliseconds that a session may be idle */
	CPM_POOL_MAX_LIFETIME,		/* milliseconds that a session may last */
	CPM_POOL_MAX_USES,			/* transactions in a session */
	CPM_POOL_CONNECTION_TIMEOUT /* milliseconds from process start until the session is open */
} CpmLimit;

#define CPM_LIMITS (CPM_POOL_CONNECTION_TIMEOUT + 1)

typedef struct CpmPolicy
{
	int			limit[CPM_LIMITS];	/* 0: no limit */
} CpmPolicy;

#endif							/* CPM_POLICY_H */
