/* SPDX-License-Identifier: PostgreSQL */
/*
 * shmem.h
 *		Named areas of shared memory, one for each file of store/.
 */
#ifndef CPM_SHMEM_H
#define CPM_SHMEM_H

#include "postgres_ext.h"

typedef struct CpmShmemArea
{
	const char *name;			/* as in pg_shmem_allocations */
	Size		(*size) (void);
	void		(*attach) (void *memory, bool is_new);	/* initialise when new */
	const char *lock;			/* tranche of one LWLock that attach gets; NULL for none */
	Size		(*beside) (void);	/* what attach allocates besides, as a hash table; NULL for
									 * nothing */
} CpmShmemArea;

/*
 * Reserve and create the areas when the server starts. Call from _PG_init()
 * while shared_preload_libraries are loaded; the array must stay.
 */
extern void cpm_shmem_register(const CpmShmemArea *areas, int count);

/* Bytes of all areas together; 0 when the library is not preloaded. */
extern Size cpm_shmem_total_size(void);

/* Is the library preloaded, and this process attached to its shared memory? */
extern bool cpm_is_preloaded(void);

#endif							/* CPM_SHMEM_H */
