/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy.h
 *		What the owner of a pool wants of it: limits that were set for its role or
 *		database. A plain value.
 */
#ifndef CPM_POLICY_H
#define CPM_POLICY_H

/* In the order of the contract, which is that of the columns. */
typedef enum CpmLimit
{
	CPM_POOL_MAX,				/* connections of the role in the database */
	CPM_POOL_MIN,				/* the same */
	CPM_POOL_IDLE_TIMEOUT,		/* milliseconds, of a session, and so are those below */
	CPM_POOL_MAX_LIFETIME,		/* milliseconds */
	CPM_POOL_MAX_USES,			/* transactions */
	CPM_POOL_CONNECTION_TIMEOUT /* milliseconds from its start until it is open */
} CpmLimit;

#define CPM_LIMITS (CPM_POOL_CONNECTION_TIMEOUT + 1)

typedef struct CpmPolicy
{
	int			limit[CPM_LIMITS];	/* 0: none */
} CpmPolicy;

#endif							/* CPM_POLICY_H */
