/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker.h
 *		The background workers of the extension.
 */
#ifndef CPM_WORKER_H
#define CPM_WORKER_H

typedef enum CpmWorker
{
	CPM_WORKER_SAMPLER,
	CPM_WORKER_SAVER,
	CPM_WORKER_PGBOUNCER,
	CPM_WORKER_HTTP
} CpmWorker;

#define CPM_WORKERS (CPM_WORKER_HTTP + 1)

#endif							/* CPM_WORKER_H */
