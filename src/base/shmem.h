/* SPDX-License-Identifier: PostgreSQL */
/*
 * shmem.h
 *		Reserves and creates the named areas of shared memory.
 */
#ifndef CPM_SHMEM_H
#define CPM_SHMEM_H

#include "postgres_ext.h"

typedef struct CpmShmemArea
{
	const char *name;			/* shown in pg_shmem_allocations */
	Size		(*size) (void); /* bytes of the area */
	void		(*attach) (void *memory, bool is_new);	/* store the address; initialize if new */
	const char *lock;			/* tranche of an LWLock that attach looks up; NULL: none */
	Size		(*extra_size) (void);	/* bytes that attach allocates itself, for instance for a
										 * hash table; NULL: none */
} CpmShmemArea;

/*
 * Reserve and create the areas when the server starts. Called by _PG_init() while
 * shared_preload_libraries are loaded; keeps a pointer to the array.
 */
extern void cpm_shmem_register(const CpmShmemArea *areas, int count);

/* Return the size of all areas in bytes; 0 if the library is not preloaded. */
extern Size cpm_shmem_total_size(void);

/* Return true if the library is preloaded and this process is attached to its shared memory. */
extern bool cpm_is_preloaded(void);

#endif							/* CPM_SHMEM_H */
