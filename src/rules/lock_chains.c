/* SPDX-License-Identifier: PostgreSQL */
/*
 * lock_chains.c
 *		Finds the heads of chains of lock waits, and counts the sessions behind a process.
 *
 * Waits form a graph from each waiting process to its blockers. The graph may have cycles, namely
 * deadlocks that PostgreSQL has not detected yet. Both functions propagate results from heads to
 * waiters in rounds over all waits, until a round changes nothing. A queue takes two rounds,
 * because its head blocks everyone in it. A chain in which each process waits for only the next
 * one takes, at worst, as many rounds as it is long, depending on the order of the pids.
 *
 * Depth-first search was rejected. If it caches results within a cycle, they depend on where it
 * entered the cycle; if it does not, it takes exponential time.
 */
#include "postgres.h"

#include "rules/lock_chains.h"

static int
compare_pid_to_wait(const void *key, const void *element)
{
	int			pid = *(const int *) key;
	int			other = ((const CpmLockWait *) element)->pid;

	return (pid > other) - (pid < other);
}

int
cpm_find_wait(const CpmLockWait *waits, int count, int pid)
{
	const CpmLockWait *wait = bsearch(&pid, waits, count, sizeof(CpmLockWait),
									  compare_pid_to_wait);

	return wait ? (int) (wait - waits) : -1;
}

/*
 * Return the lowest head of the wait found so far: a blocker that does not wait, or the head of a
 * blocker that waits.
 */
static int
lowest_head(const CpmLockWait *waits, int count, const CpmLockWait *wait, const int *heads)
{
	int			lowest = CPM_NO_ROOT_BLOCKER;

	for (int i = 0; i < wait->blocker_count; i++)
	{
		int			blocker = cpm_find_wait(waits, count, wait->blockers[i]);
		int			head = blocker < 0 ? wait->blockers[i] : heads[blocker];

		if (head != CPM_NO_ROOT_BLOCKER && (lowest == CPM_NO_ROOT_BLOCKER || head < lowest))
			lowest = head;
	}
	return lowest;
}

void
cpm_root_blockers(const CpmLockWait *waits, int count, int *heads)
{
	bool		changed = true;

	for (int i = 0; i < count; i++)
		heads[i] = CPM_NO_ROOT_BLOCKER;
	/* Once found, a head can only be replaced by a lower pid, so the loop ends. */
	while (changed)
	{
		changed = false;
		for (int i = 0; i < count; i++)
		{
			int			head = lowest_head(waits, count, &waits[i], heads);

			changed |= (head != heads[i]);
			heads[i] = head;
		}
	}
}

bool
cpm_waits_for_pid(const CpmLockWait *wait, const void *arg)
{
	for (int i = 0; i < wait->blocker_count; i++)
		if (wait->blockers[i] == *(const int *) arg)
			return true;
	return false;
}

static bool
waits_for_one_of(const CpmLockWait *waits, int count, const CpmLockWait *wait,
				 const bool *is_blocked)
{
	for (int i = 0; i < wait->blocker_count; i++)
	{
		int			blocker = cpm_find_wait(waits, count, wait->blockers[i]);

		if (blocker >= 0 && is_blocked[blocker])
			return true;
	}
	return false;
}

int
cpm_count_blocked_sessions(const CpmLockWait *waits, int count, CpmWaitsFor waits_for,
						   const void *arg)
{
	bool	   *is_blocked = palloc0((count + 1) * sizeof(bool));
	bool		changed = true;
	int			sessions = 0;

	for (int i = 0; i < count; i++)
		is_blocked[i] = waits_for(&waits[i], arg);
	while (changed)
	{
		changed = false;
		for (int i = 0; i < count; i++)
		{
			if (is_blocked[i] || !waits_for_one_of(waits, count, &waits[i], is_blocked))
				continue;
			is_blocked[i] = true;
			changed = true;
		}
	}
	for (int i = 0; i < count; i++)
		sessions += is_blocked[i] && waits[i].is_client;
	pfree(is_blocked);
	return sessions;
}
