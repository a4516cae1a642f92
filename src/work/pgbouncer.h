/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer.h
 *		Registers the worker that asks PgBouncer.
 */
#ifndef CPM_WORK_PGBOUNCER_H
#define CPM_WORK_PGBOUNCER_H

/* From _PG_init(), while libraries are preloaded. Does nothing when no console is named. */
extern void cpm_pgbouncer_register(void);

#endif							/* CPM_WORK_PGBOUNCER_H */
