/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejection.c
 *		The names of the reasons for which a connection is refused.
 */
#include "postgres.h"

#include "base/rejection.h"

const char *
cpm_rejection_name(CpmRejection reason)
{
	switch (reason)
	{
		case CPM_REJECTED_TOO_MANY:
			return "too_many";
		case CPM_REJECTED_RESERVED:
			return "reserved";
		case CPM_REJECTED_ROLE_LIMIT:
			return "role_limit";
		case CPM_REJECTED_DATABASE_LIMIT:
			return "database_limit";
		case CPM_REJECTED_AUTHENTICATION:
			return "authentication";
		case CPM_REJECTED_HBA:
			return "hba";
		case CPM_REJECTED_NO_DATABASE:
			return "no_database";
		case CPM_REJECTED_STARTING_UP:
			return "starting_up";
		case CPM_REJECTED_SHUTTING_DOWN:
			return "shutting_down";
		case CPM_REJECTED_OTHER:
			break;
	}
	return "other";
}
