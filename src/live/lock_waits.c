/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_waits.c
 *		Who waits for a heavyweight lock, and for whom.
 *
 * pg_blocking_pids() itself says who blocks whom: it knows of lock groups, of
 * conflicts and of those ahead in the queue. What the lock is comes from the
 * same snapshot function that it uses. The two are taken one after the other;
 * a wait that ended in between is left out.
 */
#include "postgres.h"

#include "base/compat.h"
#include "fmgr.h"
#include "live/backends.h"
#include "live/lock_waits.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct WaitList
{
	CpmLockWait *wait;
	int			count;
	int			capacity;
	HTAB	   *seen;			/* pids looked at, so that each is asked once */
} WaitList;

/* Remember the pid; true when it is new. */
static bool
see_pid(WaitList *list, int pid)
{
	bool		found;

	hash_search(list->seen, &pid, HASH_ENTER, &found);
	return !found;
}

static void
add_waiter(WaitList *list, int pid, TimestampTz since)
{
	if (list->count == list->capacity)
	{
		list->capacity *= 2;
		list->wait = repalloc(list->wait, list->capacity * sizeof(CpmLockWait));
	}
	memset(&list->wait[list->count], 0, sizeof(CpmLockWait));
	list->wait[list->count].pid = pid;
	list->wait[list->count].since = since;
	list->count++;
}

static void
note_waiter(const CpmSession *session, void *arg)
{
	if (session->lock_wait_start != 0)
		add_waiter(arg, session->pid, session->lock_wait_start);
}

/* What does the process wait for? False when it waits no longer. */
static bool
awaited_lock(int pid, LOCKTAG *lock, LOCKMODE *mode, TimestampTz *since)
{
	BlockedProcsData *data = GetBlockerStatusData(pid);

	for (int i = 0; i < data->nlocks; i++)
	{
		if (data->locks[i].pid != pid && data->locks[i].leaderPid != pid)
			continue;
		if (data->locks[i].waitLockMode == NoLock)
			continue;
		*lock = data->locks[i].locktag;
		*mode = data->locks[i].waitLockMode;
		*since = data->locks[i].waitStart;
		return true;
	}
	return false;
}

static int
compare_pids(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return (x > y) - (x < y);
}

/*
 * Parallel workers make their leader appear several times: once is enough. The
 * blockers are copied to "context"; what PostgreSQL allocated on the way, room
 * for every backend three times over, stays where the caller frees it.
 */
static void
find_blockers(CpmLockWait *wait, MemoryContext context)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(wait->pid)));
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int		   *pids = (int *) ARR_DATA_PTR(array);

	qsort(pids, count, sizeof(int), compare_pids);
	wait->blockers = MemoryContextAlloc(context, (count + 1) * sizeof(int));
	for (int i = 0; i < count; i++)
		if (i == 0 || pids[i] != pids[i - 1])
			wait->blockers[wait->blocker_count++] = pids[i];
}

/* A blocker that is not listed may wait itself: follow it too. */
static void
add_blockers_that_wait(WaitList *list, int index, MemoryContext scratch)
{
	for (int i = 0; i < list->wait[index].blocker_count; i++)
	{
		int			pid = list->wait[index].blockers[i];
		MemoryContext old_context;
		LOCKTAG		lock;
		LOCKMODE	mode;
		TimestampTz since;
		bool		waits;

		if (pid == 0 || !see_pid(list, pid))
			continue;
		old_context = MemoryContextSwitchTo(scratch);
		waits = awaited_lock(pid, &lock, &mode, &since);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(scratch);
		if (waits)
			add_waiter(list, pid, since);
	}
}

static int
compare_waits(const void *a, const void *b)
{
	return compare_pids(&((const CpmLockWait *) a)->pid, &((const CpmLockWait *) b)->pid);
}

static int
compare_starts(const void *a, const void *b)
{
	TimestampTz x = ((const CpmLockWait *) a)->since;
	TimestampTz y = ((const CpmLockWait *) b)->since;

	return (x > y) - (x < y);
}

/* List the sessions that wait, the longest first, and no more than "most". */
static void
list_waiters(WaitList *list, int most)
{
	cpm_backends_scan(false, note_waiter, list);
	qsort(list->wait, list->count, sizeof(CpmLockWait), compare_starts);
	list->count = Min(list->count, most);
	for (int i = 0; i < list->count; i++)
		see_pid(list, list->wait[i].pid);
}

/* Find out whom each listed wait is for; the list grows while it is walked. */
static void
follow_waits(WaitList *list, int most)
{
	MemoryContext result_context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(result_context, "connpool_monitor lock wait",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < list->count; i++)
	{
		CpmLockWait *wait = &list->wait[i];
		TimestampTz since;
		bool		waits;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		waits = awaited_lock(wait->pid, &wait->lock, &wait->mode, &since);
		if (waits)
			find_blockers(wait, result_context);
		MemoryContextSwitchTo(result_context);
		MemoryContextReset(scratch);
		if (waits && list->count / 2 < most)
			add_blockers_that_wait(list, i, scratch);
	}
	MemoryContextDelete(scratch);
}

int
cpm_lock_waits(int most, CpmLockWait **waits)
{
	HASHCTL		by_pid = {.keysize = sizeof(int), .entrysize = sizeof(int),
	.hcxt = CurrentMemoryContext};
	WaitList	list = {.capacity = 16};
	int			kept = 0;

	list.seen = hash_create("connpool_monitor pids seen", 64, &by_pid,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	list.wait = palloc(list.capacity * sizeof(CpmLockWait));
	list_waiters(&list, most);
	follow_waits(&list, most);

	/* a wait that ended meanwhile is for nobody */
	for (int i = 0; i < list.count; i++)
		if (list.wait[i].blocker_count > 0)
			list.wait[kept++] = list.wait[i];
	hash_destroy(list.seen);
	qsort(list.wait, kept, sizeof(CpmLockWait), compare_waits);
	*waits = list.wait;
	return kept;
}
