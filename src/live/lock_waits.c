/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_waits.c
 *		Lists the processes that wait for heavyweight locks, and their blockers.
 *
 * The blockers of each waiter come from pg_blocking_pids(), which considers lock groups,
 * conflicts and the order of the queue. The lock itself comes from the snapshot function that
 * pg_blocking_pids() uses. The two snapshots differ in time; a wait that ended in between has no
 * blockers and is omitted.
 *
 * Neither function finds auxiliary processes. Only one of these waits for locks: the startup
 * process of a standby, which replays the exclusive locks of the primary. Its lock and its
 * blockers, the sessions that hold the lock, come from a copy of the whole lock table.
 */
#include "postgres.h"

#include "base/compat.h"
#include "fmgr.h"
#include "live/backends.h"
#include "live/lock_waits.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct WaitList
{
	CpmLockWait *wait;
	int			count;
	int			capacity;
	HTAB	   *seen;			/* pids of examined processes, so that each is examined once */
} WaitList;

/* Add the pid to the examined ones; returns true if it is new. */
static bool
add_seen_pid(WaitList *list, int pid)
{
	bool		found;

	hash_search(list->seen, &pid, HASH_ENTER, &found);
	return !found;
}

static void
add_waiter(WaitList *list, int pid, bool is_client, TimestampTz since)
{
	if (list->count == list->capacity)
	{
		list->capacity *= 2;
		list->wait = repalloc(list->wait, list->capacity * sizeof(CpmLockWait));
	}
	memset(&list->wait[list->count], 0, sizeof(CpmLockWait));
	list->wait[list->count].pid = pid;
	list->wait[list->count].is_client = is_client;
	list->wait[list->count].since = since;
	list->count++;
}

static void
add_waiting_session(const CpmSession *session, void *arg)
{
	if (session->lock_wait_start != 0)
		add_waiter(arg, session->pid, true, session->lock_wait_start);
}

static bool
is_auxiliary(int pid)
{
	return AuxiliaryPidGetProc(pid) != NULL;
}

/*
 * Set the lock that the process, or one of the parallel workers that it leads, has waited for
 * longest; returns false if none of them waits any more. The start of the wait comes from a
 * PGPROC, because GetBlockerStatusData() does not set waitStart.
 */
static bool
get_awaited_lock(CpmLockWait *wait)
{
	BlockedProcsData *data;
	const LockInstanceData *locks;
	int			count;
	int			waiter_pid;
	TimestampTz since;

	if (!cpm_backends_longest_wait(wait->pid, &waiter_pid, &since))
		return false;
	data = GetBlockerStatusData(wait->pid);
	locks = data->locks;
	count = data->nlocks;
	if (is_auxiliary(wait->pid))
	{
		const LockData *all = GetLockStatusData();

		locks = all->locks;
		count = all->nelements;
	}
	for (int i = 0; i < count; i++)
	{
		if (locks[i].pid != waiter_pid || locks[i].waitLockMode == NoLock)
			continue;
		wait->lock = locks[i].locktag;
		wait->mode = locks[i].waitLockMode;
		wait->since = since;
		return true;
	}
	return false;
}

/* Set *pids to the processes that hold the awaited lock in a conflicting mode; return how many. */
static int
find_holders(const CpmLockWait *wait, int **pids)
{
	const LockData *all = GetLockStatusData();
	LOCKMASK	conflicts = GetLockTagsMethodTable(&wait->lock)->conflictTab[wait->mode];
	int			count = 0;

	*pids = palloc((all->nelements + 1) * sizeof(int));
	for (int i = 0; i < all->nelements; i++)
		if (all->locks[i].pid != wait->pid && (all->locks[i].holdMask & conflicts) != 0 &&
			memcmp(&all->locks[i].locktag, &wait->lock, sizeof(LOCKTAG)) == 0)
			(*pids)[count++] = all->locks[i].leaderPid;
	return count;
}

/*
 * Set *pids to the result of pg_blocking_pids(), which also includes processes that are ahead in
 * the queue; return how many.
 */
static int
find_blocking_pids(const CpmLockWait *wait, int **pids)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(wait->pid)));

	*pids = (int *) ARR_DATA_PTR(array);
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

static int
compare_pids(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return (x > y) - (x < y);
}

/*
 * Set the blockers of a wait, allocated in "context". Removes duplicates: the leader of a parallel
 * query stands for each of its workers. In the current memory context, which the caller resets,
 * allocates temporary arrays with an entry for each backend or each lock.
 */
static void
find_blockers(CpmLockWait *wait, MemoryContext context)
{
	int		   *pids;
	int			count = is_auxiliary(wait->pid) ? find_holders(wait, &pids) :
		find_blocking_pids(wait, &pids);

	qsort(pids, count, sizeof(int), compare_pids);
	wait->blockers = MemoryContextAlloc(context, (count + 1) * sizeof(int));
	for (int i = 0; i < count; i++)
		if (i == 0 || pids[i] != pids[i - 1])
			wait->blockers[wait->blocker_count++] = pids[i];
}

/* Append the blockers of a wait that are waiting too and are not in the list yet. */
static void
add_blockers_that_wait(WaitList *list, int index)
{
	for (int i = 0; i < list->wait[index].blocker_count; i++)
	{
		int			pid = list->wait[index].blockers[i];
		int			waiter_pid;
		TimestampTz since;

		if (pid != 0 && add_seen_pid(list, pid) &&
			cpm_backends_longest_wait(pid, &waiter_pid, &since))
			add_waiter(list, pid, cpm_backends_is_client(pid), since);
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

/* List the waiting client sessions, limited to the max_waits that began to wait first. */
static void
list_waiters(WaitList *list, int max_waits)
{
	cpm_backends_scan(CPM_SCAN_STATES, add_waiting_session, list);
	qsort(list->wait, list->count, sizeof(CpmLockWait), compare_starts);
	list->count = Min(list->count, max_waits);
	for (int i = 0; i < list->count; i++)
		add_seen_pid(list, list->wait[i].pid);
}

/*
 * Set the blockers of each wait. Appends blockers that are waiting to the list while iterating
 * over it, up to about twice max_waits.
 */
static void
follow_waits(WaitList *list, int max_waits)
{
	MemoryContext result_context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(result_context, "connpool_monitor lock wait",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < list->count; i++)
	{
		CpmLockWait *wait = &list->wait[i];
		bool		waits;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		waits = get_awaited_lock(wait);
		if (waits)
			find_blockers(wait, result_context);
		MemoryContextSwitchTo(result_context);
		MemoryContextReset(scratch);
		if (waits && list->count / 2 < max_waits)
			add_blockers_that_wait(list, i);
	}
	MemoryContextDelete(scratch);
}

int
cpm_lock_waits(int max_waits, CpmLockWait **waits)
{
	HASHCTL		by_pid = {.keysize = sizeof(int), .entrysize = sizeof(int),
	.hcxt = CurrentMemoryContext};
	WaitList	list = {.capacity = 16};
	int			kept = 0;

	list.seen = hash_create("connpool_monitor pids seen", 64, &by_pid,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	list.wait = palloc(list.capacity * sizeof(CpmLockWait));
	list_waiters(&list, max_waits);
	follow_waits(&list, max_waits);

	/* a wait that ended meanwhile has no blockers */
	for (int i = 0; i < list.count; i++)
		if (list.wait[i].blocker_count > 0)
			list.wait[kept++] = list.wait[i];
	hash_destroy(list.seen);
	qsort(list.wait, kept, sizeof(CpmLockWait), compare_waits);
	*waits = list.wait;
	return kept;
}
