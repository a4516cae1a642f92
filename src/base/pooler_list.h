/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_list.h
 *		The consoles of PgBouncer, parsed from the setting pgbouncer, such as
 *		main=host=127.0.0.1 port=6432 user=stats; other=...
 */
#ifndef CPM_POOLER_LIST_H
#define CPM_POOLER_LIST_H

#include "c.h"

#define CPM_MAX_POOLERS 16
#define CPM_POOLER_NAME_SIZE 64
#define CPM_CONNINFO_SIZE 1024

typedef struct CpmPoolerConsole
{
	char		name[CPM_POOLER_NAME_SIZE];
	char		conninfo[CPM_CONNINFO_SIZE];	/* keywords and values for libpq */
} CpmPoolerConsole;

typedef struct CpmPoolerList
{
	int			count;
	CpmPoolerConsole console[CPM_MAX_POOLERS];
} CpmPoolerList;

/*
 * Parse the text. Returns false if it is malformed or contains a password, with a constant
 * errdetail in *problem: it quotes nothing of the text, because that could be a secret.
 */
extern bool cpm_pooler_list_parse(const char *text, CpmPoolerList *list, const char **problem);

#endif							/* CPM_POOLER_LIST_H */
