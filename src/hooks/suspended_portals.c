/* SPDX-License-Identifier: PostgreSQL */
/*
 * suspended_portals.c
 *		Portals of this session that a client fetches in parts.
 *
 * A statement that runs in several Execute messages is one, and ends with its
 * last part, so its time waits here. Most sessions have none; one that has
 * more than fits counts a statement with its first part.
 *
 * Process-local, no allocation.
 */
#include "postgres.h"

#include "hooks/session_progress.h"
#include "hooks/suspended_portals.h"
#include "nodes/plannodes.h"

#define MOST_PARTIALS 32

static CpmSuspendedPortal partial[MOST_PARTIALS];
static int	partials;
static const QueryDesc *resumed;	/* kept above and running now */

bool
cpm_suspended_portal_keep(const QueryDesc *query, int64 elapsed_us)
{
	CpmSuspendedPortal *kept = &partial[partials];

	if (partials == MOST_PARTIALS)
		return false;
	kept->query = query;
	kept->elapsed_us = elapsed_us;
	kept->queryid = query->plannedstmt->queryId;
	partials++;
	cpm_progress.unsettled |= CPM_PORTALS_IN_PARTS;
	return true;
}

bool
cpm_suspended_portal_exists(const QueryDesc *query)
{
	for (int i = 0; i < partials; i++)
		if (partial[i].query == query)
			return true;
	return false;
}

CpmSuspendedPortal
cpm_suspended_portal_take(const QueryDesc *query)
{
	CpmSuspendedPortal taken = {0};

	for (int i = 0; i < partials; i++)
	{
		if (query != NULL && partial[i].query != query)
			continue;
		taken = partial[i];
		partial[i] = partial[--partials];
		if (partials == 0)
			cpm_progress.unsettled &= ~CPM_PORTALS_IN_PARTS;
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
