/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_list.c
 *		An array of all client sessions, for functions that need several passes over them.
 */
#include "postgres.h"

#include "functions/session_list.h"
#include "live/backends.h"

static void
append_session(const CpmSession *session, void *arg)
{
	CpmSessionList *list = arg;

	if (list->count == list->capacity)
	{
		list->capacity *= 2;
		list->session = repalloc_huge(list->session, list->capacity * sizeof(CpmSession));
	}
	list->session[list->count++] = *session;
}

CpmSessionList
cpm_session_list(void)
{
	CpmSessionList list = {.capacity = 64};

	list.session = palloc(list.capacity * sizeof(CpmSession));
	cpm_backends_scan(CPM_SCAN_QUERIES, append_session, &list);
	return list;
}

const CpmSession *
cpm_session_by_pid(const CpmSessionList *list, int pid)
{
	for (int i = 0; i < list->count; i++)
		if (list->session[i].pid == pid)
			return &list->session[i];
	return NULL;
}
