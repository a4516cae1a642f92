/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_register.h
 *		Registers the worker that asks PgBouncer.
 */
#ifndef CPM_PGBOUNCER_REGISTER_H
#define CPM_PGBOUNCER_REGISTER_H

/* From _PG_init(), while libraries are preloaded. Does nothing when no console is named. */
extern void cpm_pgbouncer_register(void);

#endif							/* CPM_PGBOUNCER_REGISTER_H */
