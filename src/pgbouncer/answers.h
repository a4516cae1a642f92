/* SPDX-License-Identifier: PostgreSQL */
/*
 * answers.h
 *		Reads the answers of PgBouncer's console: columns by name, whatever its version.
 */
#ifndef CPM_ANSWERS_H
#define CPM_ANSWERS_H

#include "base/pooler.h"
#include "libpq-fe.h"

/* The server connections that a console names, and the hosts of its databases. */
typedef struct CpmServerList
{
	CpmPoolerServer *server;	/* palloc'd */
	int			count;
} CpmServerList;

extern void cpm_read_version(const PGresult *result, CpmPoolerAnswer *answer);
extern void cpm_read_config(const PGresult *result, CpmPoolerAnswer *answer);
extern void cpm_read_pools(const PGresult *result, CpmPoolerAnswer *answer);
extern void cpm_read_stats(const PGresult *result, CpmPoolerAnswer *answer);

/* databases is the answer to SHOW DATABASES, or NULL. */
extern void cpm_read_servers(const PGresult *result, const PGresult *databases,
							 CpmServerList *servers);

#endif							/* CPM_ANSWERS_H */
