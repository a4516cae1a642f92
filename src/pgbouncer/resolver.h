/* SPDX-License-Identifier: PostgreSQL */
/*
 * resolver.h
 *		For how long a name server is waited for.
 */
#ifndef CPM_RESOLVER_H
#define CPM_RESOLVER_H

/* A second for each, once, unless RES_OPTIONS in the environment says otherwise. For this process. */
extern void cpm_resolver_hurry(void);

#endif							/* CPM_RESOLVER_H */
