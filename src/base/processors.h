/* SPDX-License-Identifier: PostgreSQL */
/*
 * processors.h
 *		The number of processors, to compare the load with.
 */
#ifndef CPM_PROCESSORS_H
#define CPM_PROCESSORS_H

#include <unistd.h>

/*
 * Return the number of processors that are online, at least 1. In a container these are the
 * processors of the machine: a limit on the container's CPU time is not considered.
 */
static inline int
cpm_processors(void)
{
	long		online = sysconf(_SC_NPROCESSORS_ONLN);

	return online > 0 ? (int) online : 1;
}

#endif							/* CPM_PROCESSORS_H */
