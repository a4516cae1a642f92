/* SPDX-License-Identifier: PostgreSQL */
/*
 * sessions.h
 *		Finds the sessions of this server among the server connections of a PgBouncer.
 */
#ifndef CPM_PGBOUNCER_SESSIONS_H
#define CPM_PGBOUNCER_SESSIONS_H

#include "export/worker_api.h"
#include "pgbouncer/answers.h"

/*
 * Claim for the pooler every session that it says is its. Sorts the list;
 * allocates in the current memory context.
 */
extern void cpm_claim_sessions(const CpmWorkerApi *entry, int pooler, CpmServerList *servers);

#endif							/* CPM_PGBOUNCER_SESSIONS_H */
