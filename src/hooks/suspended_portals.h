/* SPDX-License-Identifier: PostgreSQL */
/*
 * suspended_portals.h
 *		Statements whose rows the client fetches in several Execute messages.
 *
 * Process-local. CPM_PORTALS_SUSPENDED of cpm_progress.pending is set while there are any.
 */
#ifndef CPM_SUSPENDED_PORTALS_H
#define CPM_SUSPENDED_PORTALS_H

#include "executor/execdesc.h"

/* A statement whose portal has run in part. */
typedef struct CpmSuspendedPortal
{
	const QueryDesc *query;		/* NULL: none. Never dereferenced, because it may be freed */
	int64		elapsed_us;		/* of all parts so far */
	uint64		queryid;
} CpmSuspendedPortal;

/* Add a statement with the time of its parts so far; returns false if the table is full. */
extern bool cpm_suspended_portal_add(const QueryDesc *query, int64 elapsed_us);

extern bool cpm_suspended_portal_exists(const QueryDesc *query);

/* Remove and return the statement of a query, or any if query is NULL. No match: query is NULL. */
extern CpmSuspendedPortal cpm_suspended_portal_take(const QueryDesc *query);

/*
 * Record that the portal of a query continues now; NULL once it has run. If it fails, the failed
 * statement includes the time of its earlier parts: cpm_suspended_portal_take_resumed() removes
 * and returns them. It returns a NULL query if no portal is being continued.
 */
extern void cpm_suspended_portal_set_resumed(const QueryDesc *query);
extern CpmSuspendedPortal cpm_suspended_portal_take_resumed(void);

#endif							/* CPM_SUSPENDED_PORTALS_H */
