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

/* A statement whose portal has returned only some of its rows so far. */
typedef struct CpmSuspendedPortal
{
	/* The key; NULL if a lookup found no entry. Never dereferenced: it may have been freed. */
	const QueryDesc *query;
	int64		elapsed_us;		/* of all parts so far */
	uint64		queryid;
} CpmSuspendedPortal;

/* Add a statement with the time of its parts so far; returns false if the table is full. */
extern bool cpm_suspended_portal_add(const QueryDesc *query, int64 elapsed_us);

extern bool cpm_suspended_portal_exists(const QueryDesc *query);

/*
 * Remove and return the entry of a query, or any entry if query is NULL. The query of the result
 * is NULL if there is no such entry.
 */
extern CpmSuspendedPortal cpm_suspended_portal_take(const QueryDesc *query);

/*
 * Record the query of a suspended portal that is about to continue; NULL after the portal has run.
 * If the query fails meanwhile, cpm_suspended_portal_take_resumed() removes and returns its entry,
 * so that the failed statement includes the time of its earlier parts. The query of the result is
 * NULL if no suspended portal was running.
 */
extern void cpm_suspended_portal_set_resumed(const QueryDesc *query);
extern CpmSuspendedPortal cpm_suspended_portal_take_resumed(void);

#endif							/* CPM_SUSPENDED_PORTALS_H */
