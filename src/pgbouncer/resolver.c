/* SPDX-License-Identifier: PostgreSQL */
/*
 * resolver.c
 *		For how long a name server is waited for.
 *
 * A host by its name is looked up within libpq, which waits for the answer, and all other
 * consoles with it: five seconds twice, for each name server, is too long. Set where the
 * resolver reads it, for the postmaster may have looked up names already, and its children
 * do not look at the environment again. A file of its own, as <resolv.h> makes a macro of a
 * name that PostgreSQL's headers use.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <resolv.h>

#include "pgbouncer/resolver.h"

void
cpm_resolver_hurry(void)
{
	if (getenv("RES_OPTIONS") != NULL || res_init() != 0)
		return;
	_res.retrans = 1;
	_res.retry = 1;
}
