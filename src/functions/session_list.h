/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_list.h
 *		An array of all client sessions, for functions that need several passes over them.
 */
#ifndef CPM_SESSION_LIST_H
#define CPM_SESSION_LIST_H

#include "base/session.h"

typedef struct CpmSessionList
{
	CpmSession *session;
	int			count;
	int			capacity;
} CpmSessionList;

/* Return all client sessions with all fields. The array and the queries are palloc'd. */
extern CpmSessionList cpm_session_list(void);

/* Return the session with that pid; NULL if there is none. */
extern const CpmSession *cpm_session_by_pid(const CpmSessionList *list, int pid);

#endif							/* CPM_SESSION_LIST_H */
