/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_list.h
 *		All sessions in an array, for functions that look at them more than once.
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

/* Every client session with its details, palloc'd. */
extern CpmSessionList cpm_session_list(void);

/* The session of that pid, or NULL. */
extern const CpmSession *cpm_session_by_pid(const CpmSessionList *list, int pid);

#endif							/* CPM_SESSION_LIST_H */
