/* SPDX-License-Identifier: PostgreSQL */
/*
 * shmem.c
 *		Reserves and creates the named areas of shared memory.
 *
 * The postmaster reserves them in shmem_request_hook and creates them in shmem_startup_hook, and
 * creates them again after a crash of a backend. Nothing is allocated later.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

static const CpmShmemArea *registered;
static int	registered_count;
static bool is_attached;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;

/* Return the size of an area in bytes, rounded up as ShmemAlloc() does. */
static Size
shmem_area_size(const CpmShmemArea *area)
{
	Size		size = CACHELINEALIGN(area->size());

	return area->extra_size ? add_size(size, CACHELINEALIGN(area->extra_size())) : size;
}

static void
cpm_shmem_request(void)
{
	if (previous_request_hook)
		previous_request_hook();

	for (int i = 0; i < registered_count; i++)
	{
		RequestAddinShmemSpace(shmem_area_size(&registered[i]));
		if (registered[i].lock)
			RequestNamedLWLockTranche(registered[i].lock, 1);
	}
}

static void
cpm_shmem_startup(void)
{
	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < registered_count; i++)
	{
		bool		found;
		void	   *memory = ShmemInitStruct(registered[i].name, registered[i].size(), &found);

		registered[i].attach(memory, !found);
	}
	LWLockRelease(AddinShmemInitLock);
	is_attached = true;
}

void
cpm_shmem_register(const CpmShmemArea *areas, int count)
{
	registered = areas;
	registered_count = count;

	previous_request_hook = shmem_request_hook;
	shmem_request_hook = cpm_shmem_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = cpm_shmem_startup;
}

Size
cpm_shmem_total_size(void)
{
	Size		total = 0;

	if (!is_attached)
		return 0;
	for (int i = 0; i < registered_count; i++)
		total = add_size(total, shmem_area_size(&registered[i]));
	return total;
}

bool
cpm_is_preloaded(void)
{
	return is_attached;
}
