/* SPDX-License-Identifier: PostgreSQL */
/*
 * answers.h
 *		Reads the answers of PgBouncer's console: columns by name, whatever its version.
 */
#ifndef CPM_ANSWERS_H
#define CPM_ANSWERS_H

#include "base/pooler.h"
#include "pgbouncer/table.h"

/* The server connections that a console names, and the hosts of its databases. */
typedef struct CpmServerList
{
	CpmPoolerServer *server;	/* palloc'd */
	int			count;
} CpmServerList;

/* They read a table from its first row on. */
extern void cpm_read_version(CpmTable *table, CpmPoolerAnswer *answer);
extern void cpm_read_config(CpmTable *table, CpmPoolerAnswer *answer);
extern void cpm_read_pools(CpmTable *table, CpmPoolerAnswer *answer);
extern void cpm_read_stats(CpmTable *table, CpmPoolerAnswer *answer);

/* databases is the answer to SHOW DATABASES. */
extern void cpm_read_servers(CpmTable *table, CpmTable *databases, CpmServerList *servers);

#endif							/* CPM_ANSWERS_H */
