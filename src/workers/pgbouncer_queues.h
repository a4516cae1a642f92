/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_queues.h
 *		Describes PgBouncer pools whose clients wait, in the message of an alert.
 */
#ifndef CPM_PGBOUNCER_QUEUES_H
#define CPM_PGBOUNCER_QUEUES_H

#include "c.h"

/*
 * Describe the longest queues, as in "Waiting for shop of web at main: 12 clients, the first for
 * 350 ms". Sets an empty text if no client waits. Takes no lock; allocates in the current memory
 * context. The sampler only.
 */
extern void cpm_describe_queues(char *buffer, size_t size);

#endif							/* CPM_PGBOUNCER_QUEUES_H */
