/* SPDX-License-Identifier: PostgreSQL */
/*
 * load.h
 *		The load of a pool or of the server: the time that sessions spent busy, by wait class.
 *
 * A plain value without locks. Divided by the time observed, it is the average number of busy
 * sessions.
 */
#ifndef CPM_LOAD_H
#define CPM_LOAD_H

#include "base/wait_class.h"
#include "c.h"

typedef struct CpmLoad
{
	uint64		ms[CPM_WAIT_CLASSES];	/* session-milliseconds */
} CpmLoad;

static inline void
cpm_load_add(CpmLoad *sum, const CpmLoad *load)
{
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		sum->ms[i] += load->ms[i];
}

/* Subtract modulo 2^64: a sum may be negative until further loads are added to it. */
static inline void
cpm_load_subtract(CpmLoad *sum, const CpmLoad *load)
{
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		sum->ms[i] -= load->ms[i];
}

/* Return the session-milliseconds of all classes. */
static inline uint64
cpm_load_total(const CpmLoad *load)
{
	uint64		total = 0;

	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		total += load->ms[i];
	return total;
}

#endif							/* CPM_LOAD_H */
