/* SPDX-License-Identifier: PostgreSQL */
/*
 * register.h
 *		Registers the background workers.
 */
#ifndef CPM_REGISTER_H
#define CPM_REGISTER_H

#include "postmaster/bgworker.h"

/*
 * Register the sampler, the saver, the PgBouncer worker if a console is set, and the HTTP worker
 * if http_listen is set. Logs a warning if the HTTP worker's library is not installed. Call from
 * _PG_init() while libraries are preloaded.
 */
extern void cpm_workers_register(void);

/* Return a worker whose main function is cpm_NAME_main() in the library. */
extern BackgroundWorker cpm_worker_of_name(const char *name, const char *library,
										   BgWorkerStartTime start, int restart_seconds);

#endif							/* CPM_REGISTER_H */
