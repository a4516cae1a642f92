/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_queues.h
 *		In which pools of PgBouncer clients wait, for the message of an alert.
 */
#ifndef CPM_PGBOUNCER_QUEUES_H
#define CPM_PGBOUNCER_QUEUES_H

#include "c.h"

/*
 * Name the pools with the longest queues, as in "shop of web at main: 12 clients,
 * the first for 350 ms"; empty when nobody waits. The sampler only, at a transition;
 * in the current memory context, no lock.
 */
extern void cpm_describe_queues(char *buffer, size_t size);

#endif							/* CPM_PGBOUNCER_QUEUES_H */
