/* SPDX-License-Identifier: PostgreSQL */
/*
 * suspended_portals.h
 *		Portals of this session that a client fetches in parts.
 */
#ifndef CPM_SUSPENDED_PORTALS_H
#define CPM_SUSPENDED_PORTALS_H

#include "executor/execdesc.h"

/* A statement whose portal has run in part. */
typedef struct CpmSuspendedPortal
{
	const QueryDesc *query;		/* NULL: none. Only compared: it may be gone */
	int64		elapsed_us;		/* of all parts so far */
	uint64		queryid;
} CpmSuspendedPortal;

/*
 * CPM_PORTALS_IN_PARTS of cpm_progress.unsettled tells whether there are any.
 *
 * Keep a statement with the time of its parts so far; false when there are too many.
 */
extern bool cpm_suspended_portal_keep(const QueryDesc *query, int64 elapsed_us);

extern bool cpm_suspended_portal_exists(const QueryDesc *query);

/*
 * Remember the query of a portal that continues now, or NULL once it has run: if it fails, the
 * time of its earlier parts belongs to the failed statement. cpm_suspended_portal_take_resumed() takes
 * that statement out; its query is NULL when no portal continues.
 */
extern void cpm_suspended_portal_set_resumed(const QueryDesc *query);
extern CpmSuspendedPortal cpm_suspended_portal_take_resumed(void);

/* Take out the statement of that query, or (NULL) any; its query is NULL when there is none. */
extern CpmSuspendedPortal cpm_suspended_portal_take(const QueryDesc *query);

#endif							/* CPM_SUSPENDED_PORTALS_H */
