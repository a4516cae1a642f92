/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot_session.h
 *		A copy of a backend slot: the session's counters and policy.
 *
 * A plain value; counters/backend_counters fills it.
 */
#ifndef CPM_SLOT_SESSION_H
#define CPM_SLOT_SESSION_H

#include "base/policy.h"
#include "base/query_counts.h"
#include "datatype/timestamp.h"

typedef struct CpmSlotSession
{
	int			pid;			/* 0: the slot has no session */
	TimestampTz started_at;		/* start of the process, because pids and slots are reused */
	int			pool;			/* index in counters/pool_table */
	CpmQueryCounts counts;		/* of this session only */
	int64		setup_us;		/* from the start of the process until the session was open */
	char		role[NAMEDATALEN];	/* the session's own role, even if its pool is "(other)" */
	bool		is_trusted;		/* the role is a superuser or has the privileges of
								 * pg_read_all_data */
	CpmPolicy	policy;
} CpmSlotSession;

#endif							/* CPM_SLOT_SESSION_H */
