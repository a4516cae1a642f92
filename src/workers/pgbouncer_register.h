/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_register.h
 *		Registers the worker that queries PgBouncer consoles.
 */
#ifndef CPM_PGBOUNCER_REGISTER_H
#define CPM_PGBOUNCER_REGISTER_H

/* Register the worker if a console is set. Call from _PG_init() while libraries are preloaded. */
extern void cpm_pgbouncer_register(void);

#endif							/* CPM_PGBOUNCER_REGISTER_H */
