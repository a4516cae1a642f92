/* SPDX-License-Identifier: PostgreSQL */
/*
 * answers.h
 *		Reads the tables that a PgBouncer console returned.
 */
#ifndef CPM_ANSWERS_H
#define CPM_ANSWERS_H

#include "base/pooler.h"
#include "pgbouncer/table.h"

/* The server connections of a PgBouncer, with the hosts of their databases. */
typedef struct CpmServerList
{
	CpmPoolerServer *server;	/* palloc'd */
	int			count;
} CpmServerList;

/*
 * Check the numbers of clients and server connections in the rows that cpm_read_pools() reads.
 * Returns the name of a column that has an invalid number; NULL if there is none. The table must
 * be at its first row, and is at its first row afterwards.
 */
extern const char *cpm_invalid_count(CpmTable *pools);

/*
 * Copy a table to the answer. The table must be at its first row. If SHOW CONFIG does not return a
 * setting, the answer keeps its previous value. Pools whose names agree in the bytes that are kept
 * are merged.
 */
extern void cpm_read_version(CpmTable *table, CpmPoolerAnswer *answer);
extern void cpm_read_config(CpmTable *table, CpmPoolerAnswer *answer);
extern void cpm_read_pools(CpmTable *table, CpmPoolerAnswer *answer);
extern void cpm_read_stats(CpmTable *table, CpmPoolerAnswer *answer);

/*
 * Fill servers from the answers to SHOW SERVERS and SHOW DATABASES. Ignores server connections
 * beyond 100,000 and counts them in answer->rows_dropped. Allocates in the current memory context.
 */
extern void cpm_read_servers(CpmTable *table, CpmTable *databases, CpmServerList *servers,
							 CpmPoolerAnswer *answer);

#endif							/* CPM_ANSWERS_H */
