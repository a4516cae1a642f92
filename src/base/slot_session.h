/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot_session.h
 *		A session as its own slot tells it: what it has counted, and its policy. A
 *		plain value.
 */
#ifndef CPM_SLOT_SESSION_H
#define CPM_SLOT_SESSION_H

#include "base/policy.h"
#include "base/query_counts.h"
#include "datatype/timestamp.h"

typedef struct CpmSlotSession
{
	int			pid;			/* 0: the slot has no session */
	TimestampTz started_at;		/* of the process: pids and slots are reused */
	int			pool;			/* index in counters/pool_table */
	CpmQueryCounts counts;		/* of this session */
	int64		setup_us;		/* from the start of its process until it was open */
	bool		is_trusted;		/* its role is a superuser or a member of pg_read_all_data */
	CpmPolicy	policy;
} CpmSlotSession;

#endif							/* CPM_SLOT_SESSION_H */
