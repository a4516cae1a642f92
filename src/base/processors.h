/* SPDX-License-Identifier: PostgreSQL */
/*
 * processors.h
 *		The number of processors, with which the load is compared.
 */
#ifndef CPM_PROCESSORS_H
#define CPM_PROCESSORS_H

#include <unistd.h>

/*
 * Return the number of processors that are online; 0 if it is unknown. In a container, this is the
 * number of the host, because a limit on the container's CPU time does not change it.
 */
static inline int
cpm_online_processors(void)
{
#ifdef _SC_NPROCESSORS_ONLN
	return (int) Max(sysconf(_SC_NPROCESSORS_ONLN), 0);
#else
	return 0;
#endif
}

#endif							/* CPM_PROCESSORS_H */
