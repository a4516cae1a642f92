/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_roots.c
 *		Finds, at each sample, the root blocker of each process that waits for a heavyweight lock.
 *
 * Calling pg_blocking_pids() for each waiter, as live/lock_waits does, takes time proportional to
 * the square of a queue's length, and each call locks all partitions of the lock table. But all
 * processes that wait for a lock are in one queue behind the same holders. So each sample reads
 * from the LOCK only the blockers of the process that has waited longest, and uses the root of
 * this process for its whole queue. Caveats: if holders of a lock have different modes, a later
 * process of the queue may have further roots. If the deadlock check has reordered the queue, its
 * longest waiter may be blocked only by a process ahead of it in the queue, which is not found.
 *
 * A queue keeps its result while the same process waits longest. The result becomes outdated if
 * one of several holders releases the lock meanwhile, or if another process acquires it too.
 * Therefore each sample renews the four oldest results: with n queues, a result is at most about
 * n / 4 samples old. Each sample also determines again which of the blockers wait.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/lock_wait.h"
#include "live/backends.h"
#include "live/lock_roots.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_LOOKUPS 32			/* lookups of new queues in one sample */
#define MAX_RENEWALS 4			/* lookups that renew results in one sample */
#define MAX_BLOCKERS 16			/* blockers kept of one queue */
#define NO_QUEUE (-1)

/* A lock and the queue of processes that wait for it. */
typedef struct LockQueue
{
	uintptr_t	lock;			/* address of the LOCK */

	/* the process that has waited longest */
	int			first_pid;
	int			first_proc;		/* index of its PGPROC */
	TimestampTz first_recorded_since;	/* start of its wait, as PostgreSQL recorded it */
	TimestampTz first_since;	/* the same, corrected if the clock was set back */

	/* result of the last lookup */
	uint64		looked_up_at;	/* number of the update that looked it up; 0: none */
	bool		is_known;		/* false if the wait ended before the lookup */
	LOCKTAG		tag;
	int			blocker_count;
	int			blocker[MAX_BLOCKERS];	/* pids of direct blockers; 0: a prepared transaction */
	Oid			prepared_database;	/* of a direct blocker that is a prepared transaction */
	Oid			prepared_owner;

	/* determined by each update */
	bool		is_scheduled;	/* for a lookup in this update */
	int			blocker_queue[MAX_BLOCKERS];	/* in which the blocker waits, or NO_QUEUE */
	int			root_pid;		/* root blocker; CPM_NO_ROOT_BLOCKER if not found */
	int			root_queue;		/* queue that the root blocks directly */
} LockQueue;

typedef struct Wait
{
	CpmProcWait proc;
	int			queue;			/* index in queues */
} Wait;

/*
 * Local to the sampler. Each array has CPM_WAITING_PROCS entries. It is NULL until a process
 * waits.
 */
static Wait *waits;				/* of this update; ordered by leader's pid, the wait of a client
								 * session first */
static int	wait_count;
static LockQueue *queues;		/* of this update; ordered by lock */
static int	queue_count;
static LockQueue *earlier_queues;	/* of the previous update */
static int	earlier_queue_count;
static int *scheduled;			/* indexes of queues to look up, in this order */
static int	scheduled_count;
static uint64 updates;			/* number of calls of cpm_lock_roots_update() */

static void
allocate_arrays(void)
{
	if (waits == NULL)
		waits = MemoryContextAlloc(TopMemoryContext, CPM_WAITING_PROCS * sizeof(Wait));
	if (queues == NULL)
		queues = MemoryContextAlloc(TopMemoryContext, CPM_WAITING_PROCS * sizeof(LockQueue));
	if (earlier_queues == NULL)
		earlier_queues = MemoryContextAlloc(TopMemoryContext, CPM_WAITING_PROCS * sizeof(LockQueue));
	if (scheduled == NULL)
		scheduled = MemoryContextAlloc(TopMemoryContext, CPM_WAITING_PROCS * sizeof(int));
}

static void
add_wait(const CpmProcWait *wait, void *arg)
{
	(void) arg;
	if (unlikely(wait_count == 0))
		allocate_arrays();
	waits[wait_count++].proc = *wait;
}

#define COMPARE(x, y) (((x) > (y)) - ((x) < (y)))

static inline int
compare_by_queue(const Wait *a, const Wait *b)
{
	if (a->proc.lock != b->proc.lock)
		return COMPARE(a->proc.lock, b->proc.lock);
	return COMPARE(a->proc.since, b->proc.since);
}

static inline int
compare_by_leader(const Wait *a, const Wait *b)
{
	if (a->proc.leader_pid != b->proc.leader_pid)
		return COMPARE(a->proc.leader_pid, b->proc.leader_pid);
	return COMPARE(b->proc.is_client, a->proc.is_client);
}

/* qsort() would take a tenth of a sample's time if many processes wait. */
#define ST_SORT sort_by_queue
#define ST_ELEMENT_TYPE Wait
#define ST_COMPARE(a, b) compare_by_queue(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_by_leader
#define ST_ELEMENT_TYPE Wait
#define ST_COMPARE(a, b) compare_by_leader(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static int
compare_wait_to_wait(const void *key, const void *element)
{
	return compare_by_leader(key, element);
}

static int
compare_lock_to_queue(const void *key, const void *element)
{
	return COMPARE(*(const uintptr_t *) key, ((const LockQueue *) element)->lock);
}

static int
compare_leader_to_wait(const void *key, const void *element)
{
	return COMPARE(*(const int *) key, ((const Wait *) element)->proc.leader_pid);
}

/*
 * Begin a queue with the process that has waited longest, and copy the result of the last lookup
 * if the same process waited longest in the previous update.
 */
static void
begin_queue(const CpmProcWait *first)
{
	LockQueue  *queue = &queues[queue_count++];
	const LockQueue *earlier = bsearch(&first->lock, earlier_queues, earlier_queue_count,
									   sizeof(LockQueue), compare_lock_to_queue);

	if (earlier != NULL && earlier->first_pid == first->pid &&
		earlier->first_recorded_since == first->recorded_since)
		*queue = *earlier;
	else
		memset(queue, 0, sizeof(*queue));
	queue->lock = first->lock;
	queue->first_pid = first->pid;
	queue->first_proc = first->proc_number;
	queue->first_recorded_since = first->recorded_since;
	queue->first_since = first->since;
	queue->is_scheduled = false;
}

/* Sort the waits into queues, and then order the waits by their processes. */
static void
form_queues(void)
{
	sort_by_queue(waits, wait_count);
	for (int i = 0; i < wait_count; i++)
	{
		if (i == 0 || waits[i].proc.lock != waits[i - 1].proc.lock)
			begin_queue(&waits[i].proc);
		waits[i].queue = queue_count - 1;
	}
	sort_by_leader(waits, wait_count);
}

/* Schedule a lookup of a queue, unless it has a result or is scheduled already. */
static void
schedule(int queue)
{
	if (queues[queue].is_scheduled || queues[queue].looked_up_at != 0)
		return;
	queues[queue].is_scheduled = true;
	scheduled[scheduled_count++] = queue;
}

/* Find which blockers of a queue are waiting, and schedule the queues in which they wait. */
static void
follow_blockers(LockQueue *queue)
{
	for (int i = 0; i < queue->blocker_count; i++)
	{
		const Wait *wait = bsearch(&queue->blocker[i], waits, wait_count, sizeof(Wait),
								   compare_leader_to_wait);

		queue->blocker_queue[i] = wait ? wait->queue : NO_QUEUE;
		if (wait)
			schedule(wait->queue);
	}
}

static int
compare_by_age(const void *a, const void *b)
{
	return COMPARE(queues[*(const int *) a].first_since, queues[*(const int *) b].first_since);
}

/*
 * Schedule lookups of the queues without a result: first those whose first process has waited for
 * long enough, in the order in which they began to wait, and then those in which a known blocker
 * of another queue waits.
 */
static void
schedule_queues(int64 min_age_us)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < queue_count; i++)
		if (now - queues[i].first_since >= min_age_us)
			schedule(i);
	qsort(scheduled, scheduled_count, sizeof(int), compare_by_age);
	for (int i = 0; i < queue_count; i++)
		if (queues[i].is_known)
			follow_blockers(&queues[i]);
}

/*
 * Return the LOCK for which a process waits, and acquire the LWLock of its partition; return NULL
 * if the wait has ended. While the caller holds the LWLock, the process cannot leave the queue, so
 * the LOCK is not freed.
 */
static LOCK *
lock_partition(const volatile PGPROC *proc, LWLock **partition)
{
	LOCK	   *lock = proc->waitLock;
	LOCKTAG		tag;

	if (lock == NULL)
		return NULL;

	/*
	 * The LOCK may have been freed by now. Its memory remains a LOCK, so reading it is safe, but
	 * the tag may be that of another LOCK, or parts of two. So compare it again under the LWLock.
	 */
	tag = lock->tag;
	*partition = LockHashPartitionLock(LockTagHashCode(&tag));
	LWLockAcquire(*partition, LW_SHARED);
	if (proc->waitLock == lock)
	{
		pg_read_barrier();
		if (memcmp(&lock->tag, &tag, sizeof(tag)) == 0)
			return lock;
	}
	LWLockRelease(*partition);
	return NULL;
}

/* Add a process that holds the lock for which the queue waits. */
static void
add_holder(LockQueue *queue, const PROCLOCK *owner)
{
	const PGPROC *proc = owner->tag.myProc;

	if (queue->blocker_count == MAX_BLOCKERS)
		return;
	queue->blocker[queue->blocker_count++] = owner->groupLeader->pid;
	if (proc->pid != 0)
		return;
	queue->prepared_database = proc->databaseId;
	queue->prepared_owner = proc->roleId;
}

/* Look up the processes that hold the lock in a mode that conflicts with the one awaited. */
static void
read_blockers(LockQueue *queue, const PGPROC *first, LOCK *lock)
{
	const PGPROC *leader = first->lockGroupLeader ? first->lockGroupLeader : first;
	LOCKMASK	conflicts = GetLockTagsMethodTable(&lock->tag)->conflictTab[first->waitLockMode];

	for (PROCLOCK *owner = cpm_next_lock_owner(lock, NULL); owner != NULL;
		 owner = cpm_next_lock_owner(lock, owner))
		if ((owner->holdMask & conflicts) != 0 && owner->groupLeader != leader)
			add_holder(queue, owner);
}

/* Look up a queue's lock and blockers. */
static void
look_up(LockQueue *queue)
{
	const PGPROC *first = &ProcGlobal->allProcs[queue->first_proc];
	LWLock	   *partition;
	LOCK	   *lock = lock_partition(first, &partition);

	queue->looked_up_at = updates;
	queue->blocker_count = 0;
	queue->prepared_database = InvalidOid;
	queue->prepared_owner = InvalidOid;
	if (lock != NULL && first->pid == queue->first_pid && (uintptr_t) lock == queue->lock)
	{
		queue->tag = lock->tag;
		read_blockers(queue, first, lock);
	}
	if (lock != NULL)
		LWLockRelease(partition);
	/* a wait that has ended has no blockers */
	queue->is_known = queue->blocker_count > 0;
}

/* Return the queue with the oldest result; NULL if this update has looked up all queues. */
static LockQueue *
oldest_result(void)
{
	LockQueue  *oldest = NULL;

	for (int i = 0; i < queue_count; i++)
		if (queues[i].looked_up_at != 0 && queues[i].looked_up_at != updates &&
			(oldest == NULL || queues[i].looked_up_at < oldest->looked_up_at))
			oldest = &queues[i];
	return oldest;
}

/*
 * Look up the scheduled queues, and renew the oldest results. Each lookup may schedule further
 * queues, in which the blockers wait.
 */
static void
look_up_queues(void)
{
	LockQueue  *queue;

	for (int i = 0; i < Min(scheduled_count, MAX_LOOKUPS); i++)
	{
		queue = &queues[scheduled[i]];
		look_up(queue);
		follow_blockers(queue);
	}
	for (int i = 0; i < MAX_RENEWALS && (queue = oldest_result()) != NULL; i++)
	{
		look_up(queue);
		follow_blockers(queue);
	}
}

/* Replace the queue's root if it has none or one with a higher pid; returns true if replaced. */
static bool
lower_root(LockQueue *queue, int pid, int root_queue)
{
	if (pid == CPM_NO_ROOT_BLOCKER ||
		(queue->root_pid != CPM_NO_ROOT_BLOCKER && queue->root_pid <= pid))
		return false;
	queue->root_pid = pid;
	queue->root_queue = root_queue;
	return true;
}

/*
 * Propagate each root from the queues that it blocks directly to the queues that are blocked by
 * processes in these queues, as rules/lock_chains does for single waits. A root is replaced only
 * by one with a lower pid, so the loop ends even if there is a deadlock.
 */
static void
find_roots(void)
{
	bool		changed = true;

	for (int i = 0; i < queue_count; i++)
		queues[i].root_pid = CPM_NO_ROOT_BLOCKER;
	while (changed)
	{
		changed = false;
		for (int i = 0; i < queue_count; i++)
		{
			LockQueue  *queue = &queues[i];

			for (int j = 0; j < queue->blocker_count; j++)
			{
				const LockQueue *next = queue->blocker_queue[j] == NO_QUEUE ? NULL :
					&queues[queue->blocker_queue[j]];

				changed |= next ? lower_root(queue, next->root_pid, next->root_queue) :
					lower_root(queue, queue->blocker[j], i);
			}
		}
	}
}

void
cpm_lock_roots_update(int64 min_age_us)
{
	LockQueue  *reused = earlier_queues;

	earlier_queues = queues;
	earlier_queue_count = queue_count;
	queues = reused;
	wait_count = 0;
	queue_count = 0;
	scheduled_count = 0;
	updates++;
	cpm_backends_scan_waits(add_wait, NULL);
	if (wait_count == 0)
		return;
	form_queues();
	schedule_queues(min_age_us);
	look_up_queues();
	find_roots();
}

/* Return the session's wait; NULL if it does not wait, or if its wait began after the update. */
static const Wait *
wait_of_session(const CpmSession *session)
{
	Wait		key = {.proc = {.leader_pid = session->pid, .is_client = true}};
	const Wait *wait = wait_count == 0 || session->recorded_lock_wait_start == 0 ? NULL :
		bsearch(&key, waits, wait_count, sizeof(Wait), compare_wait_to_wait);

	return wait && wait->proc.recorded_since == session->recorded_lock_wait_start ? wait : NULL;
}

int
cpm_lock_root(const CpmSession *session)
{
	const Wait *wait = wait_of_session(session);

	return wait ? queues[wait->queue].root_pid : CPM_NO_ROOT_BLOCKER;
}

int
cpm_lock_roots_waits(void)
{
	return wait_count;
}

const CpmProcWait *
cpm_lock_roots_wait(int index)
{
	return &waits[index].proc;
}

int
cpm_lock_roots_root(int index)
{
	return queues[waits[index].queue].root_pid;
}

/*
 * Return true if the queue has no root because of a deadlock, and not because a lookup is missing:
 * both its blockers and those of the queue in which its first blocker waits are known.
 */
static bool
is_deadlocked(const LockQueue *queue)
{
	return queue->is_known && queue->root_pid == CPM_NO_ROOT_BLOCKER &&
		queue->blocker_queue[0] != NO_QUEUE && queues[queue->blocker_queue[0]].is_known;
}

bool
cpm_lock_roots_describe(int index, CpmLockRoot *root)
{
	const LockQueue *queue = &queues[waits[index].queue];

	memset(root, 0, sizeof(*root));
	root->pid = queue->root_pid;
	if (is_deadlocked(queue))
		root->pid = queue->blocker[0];
	else if (root->pid == 0)
	{
		root->prepared_database = queues[queue->root_queue].prepared_database;
		root->prepared_owner = queues[queue->root_queue].prepared_owner;
	}
	if (queue->is_known)
		root->lock = queue->tag;
	return queue->is_known;
}
