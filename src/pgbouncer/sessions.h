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
 * Find the sessions of this server in servers, the server connections of a PgBouncer, and record
 * that they belong to that pooler. Sorts servers by pid. Allocates in the current memory context.
 */
extern void cpm_claim_sessions(const CpmWorkerApi *api, int pooler, CpmServerList *servers);

#endif							/* CPM_PGBOUNCER_SESSIONS_H */
