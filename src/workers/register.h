/* SPDX-License-Identifier: PostgreSQL */
/*
 * register.h
 *		Registers the background workers.
 */
#ifndef CPM_REGISTER_H
#define CPM_REGISTER_H

/*
 * Register the sampler and the saver, the PgBouncer worker if a console is set, and the HTTP worker
 * if http_listen is set; log a warning if its library is not installed. Call from _PG_init() while
 * libraries are preloaded.
 */
extern void cpm_workers_register(void);

#endif							/* CPM_REGISTER_H */
