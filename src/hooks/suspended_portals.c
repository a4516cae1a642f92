/* SPDX-License-Identifier: PostgreSQL */
/*
 * suspended_portals.c
 *		Statements whose rows the client fetches in several Execute messages.
 *
 * Such a statement counts once, after its last part, so this table holds the time of its earlier
 * parts. The table is small, because most sessions suspend no portal. If it is full, a statement
 * counts after its first part, without the time of later parts.
 *
 * Process-local; allocates nothing.
 */
#include "postgres.h"

#include "hooks/session_progress.h"
#include "hooks/suspended_portals.h"
#include "nodes/plannodes.h"

#define MAX_SUSPENDED 32

static CpmSuspendedPortal suspended[MAX_SUSPENDED];
static int	suspended_count;
static const QueryDesc *resumed;	/* the query that continues now, or NULL */

bool
cpm_suspended_portal_add(const QueryDesc *query, int64 elapsed_us)
{
	CpmSuspendedPortal *portal = &suspended[suspended_count];

	if (suspended_count == MAX_SUSPENDED)
		return false;
	portal->query = query;
	portal->elapsed_us = elapsed_us;
	portal->queryid = query->plannedstmt->queryId;
	suspended_count++;
	cpm_progress.pending |= CPM_PORTALS_SUSPENDED;
	return true;
}

bool
cpm_suspended_portal_exists(const QueryDesc *query)
{
	for (int i = 0; i < suspended_count; i++)
		if (suspended[i].query == query)
			return true;
	return false;
}

CpmSuspendedPortal
cpm_suspended_portal_take(const QueryDesc *query)
{
	CpmSuspendedPortal taken = {0};

	for (int i = 0; i < suspended_count; i++)
	{
		if (query != NULL && suspended[i].query != query)
			continue;
		taken = suspended[i];
		suspended[i] = suspended[--suspended_count];
		if (suspended_count == 0)
			cpm_progress.pending &= ~CPM_PORTALS_SUSPENDED;
		break;
	}
	return taken;
}

void
cpm_suspended_portal_set_resumed(const QueryDesc *query)
{
	resumed = query;
}

CpmSuspendedPortal
cpm_suspended_portal_take_resumed(void)
{
	CpmSuspendedPortal taken = {0};

	if (resumed != NULL)
		taken = cpm_suspended_portal_take(resumed);
	resumed = NULL;
	return taken;
}
