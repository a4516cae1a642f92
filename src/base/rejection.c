/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejection.c
 *		Why a connection was refused: the names of reasons.
 */
#include "postgres.h"

#include "base/rejection.h"

const char *
cpm_refusal_name(CpmRefusal reason)
{
	switch (reason)
	{
		case CPM_REFUSED_TOO_MANY:
			return "too_many";
		case CPM_REFUSED_RESERVED:
			return "reserved";
		case CPM_REFUSED_ROLE_LIMIT:
			return "role_limit";
		case CPM_REFUSED_DATABASE_LIMIT:
			return "database_limit";
		case CPM_REFUSED_AUTHENTICATION:
			return "authentication";
		case CPM_REFUSED_HBA:
			return "hba";
		case CPM_REFUSED_NO_DATABASE:
			return "no_database";
		case CPM_REFUSED_STARTING_UP:
			return "starting_up";
		case CPM_REFUSED_SHUTTING_DOWN:
			return "shutting_down";
		case CPM_REFUSED_OTHER:
			break;
	}
	return "other";
}
