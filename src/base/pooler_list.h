/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_list.h
 *		The consoles of PgBouncer as a setting names them:
 *		main=host=127.0.0.1 port=6432 user=stats; other=…
 */
#ifndef CPM_POOLER_LIST_H
#define CPM_POOLER_LIST_H

#include "c.h"

#define CPM_MOST_POOLERS 16
#define CPM_POOLER_NAME_SIZE 64
#define CPM_CONNINFO_SIZE 1024

typedef struct CpmPoolerConsole
{
	char		name[CPM_POOLER_NAME_SIZE];
	char		conninfo[CPM_CONNINFO_SIZE];	/* keywords and values, as libpq takes them */
} CpmPoolerConsole;

typedef struct CpmPoolerList
{
	int			count;
	CpmPoolerConsole console[CPM_MOST_POOLERS];
} CpmPoolerList;

/*
 * Take the text apart. False when it makes no sense, or holds a password, with
 * what is wrong in problem, which quotes nothing that could be a secret.
 */
extern bool cpm_pooler_list_parse(const char *text, CpmPoolerList *list, const char **problem);

#endif							/* CPM_POOLER_LIST_H */
