/* SPDX-License-Identifier: PostgreSQL */
/*
 * incident_snapshot.c
 *		Takes a snapshot of all client sessions for an incident.
 *
 * The lock waits are read before the scan of the sessions, so that an idle session that blocks
 * others, for example by an advisory lock, gets a row of its own. At most MAX_WAITS waits are
 * examined exactly; live/lock_roots supplies the root blockers of any further ones. Sessions
 * without a row of their own are counted by pool and state.
 *
 * Clients choose the names of pools, so the number of groups is limited too. The smallest groups
 * are merged into one for each state, without the names.
 */
#include "postgres.h"

#include <netinet/in.h>

#include "base/pool.h"
#include "base/session.h"
#include "base/settings.h"
#include "base/wait_class.h"
#include "live/backends.h"
#include "live/lock_roots.h"
#include "live/lock_waits.h"
#include "rules/lock_chains.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "workers/incident_snapshot.h"

#define MAX_WAITS 100			/* lock waits examined exactly; the cost grows with their square */
#define MAX_GROUPS (CPM_SNAPSHOT_ROWS - CPM_INCIDENT_SESSIONS - CPM_STATES)

/* A process that blocks others. */
typedef struct Blocker
{
	int			pid;			/* hash key; 0: all prepared transactions */
	int			examined;		/* client sessions behind it, directly or indirectly, among the
								 * waits that cpm_lock_waits() returned */
	int			all;			/* the same, among all that wait; 0 unless it is a root blocker */
} Blocker;

typedef struct Locks
{
	CpmLockWait *wait;			/* ordered by pid */
	int			waits;
	int		   *root;			/* of each wait */
	HTAB	   *blockers;		/* of Blocker */
} Locks;

/* A session that may get a row of its own. */
typedef struct Candidate
{
	CpmSnapshotRow row;
	TimestampTz since;			/* start of its transaction or, without one, of its state */
} Candidate;

/* Hashed as bytes: the bytes after the end of the name must be zero. */
typedef struct GroupKey
{
	Oid			database;
	Oid			role;
	char		application_name[NAMEDATALEN];
	int			state;			/* CpmState */
} GroupKey;

typedef struct Group
{
	GroupKey	key;			/* hash key */
	int32		sessions;
	int32		opened[CPM_OPENED_SPANS];	/* as in CpmSnapshotRow */
} Group;

typedef struct Snapshot
{
	TimestampTz at;
	Locks		locks;
	Candidate  *candidate;
	int			candidates;
	int			capacity;
	HTAB	   *groups;			/* of Group */
	int			visited;		/* sessions */
} Snapshot;

static const int64 opened_span_us[CPM_OPENED_SPANS] = {
	10 * USECS_PER_SEC, USECS_PER_MINUTE, 10 * USECS_PER_MINUTE
};

/* Return the blocker with that pid; if it is new, add it with zero counts. Sets *found. */
static Blocker *
enter_blocker(Locks *locks, int pid, bool *found)
{
	Blocker    *blocker = hash_search(locks->blockers, &pid, HASH_ENTER, found);

	if (!*found)
		blocker->examined = blocker->all = 0;
	return blocker;
}

/* Add a blocker, unless it is known, with the number of examined sessions behind it. */
static void
add_blocker(Locks *locks, int pid)
{
	bool		found;
	Blocker    *blocker = enter_blocker(locks, pid, &found);

	if (!found)
		blocker->examined = cpm_count_blocked_sessions(locks->wait, locks->waits,
													   cpm_waits_for_pid, &pid);
}

/* Count the client sessions behind each root blocker, in time proportional to all waits. */
static void
count_clients(Locks *locks)
{
	for (int i = 0; i < cpm_lock_roots_waits(); i++)
	{
		int			root = cpm_lock_roots_root(i);
		bool		found;

		if (root != CPM_NO_ROOT_BLOCKER && cpm_lock_roots_wait(i)->is_client)
			enter_blocker(locks, root, &found)->all++;
	}
}

/* Read the lock waits, and count the sessions behind each process that blocks another. */
static void
read_locks(Locks *locks)
{
	HASHCTL		by_pid = {.keysize = sizeof(int), .entrysize = sizeof(Blocker)};

	by_pid.hcxt = CurrentMemoryContext;
	locks->blockers = hash_create("connpool_monitor blockers", 64, &by_pid,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	locks->waits = cpm_lock_waits(MAX_WAITS, &locks->wait);
	locks->root = palloc((locks->waits + 1) * sizeof(int));
	cpm_root_blockers(locks->wait, locks->waits, locks->root);
	for (int i = 0; i < locks->waits; i++)
		for (int j = 0; j < locks->wait[i].blocker_count; j++)
			add_blocker(locks, locks->wait[i].blockers[j]);
	count_clients(locks);
}

/*
 * Return how many sessions wait behind the process. If more than MAX_WAITS wait, only the count
 * behind a root blocker includes all of them.
 */
static int
blocks_of(const Locks *locks, int pid)
{
	const Blocker *blocker = hash_search(locks->blockers, &pid, HASH_FIND, NULL);

	return blocker ? Max(blocker->examined, blocker->all) : 0;
}

static int
root_blocker_of(const Locks *locks, const CpmSession *session)
{
	int			wait = cpm_find_wait(locks->wait, locks->waits, session->pid);

	return wait >= 0 ? locks->root[wait] : cpm_lock_root(session);
}

static void
add_sessions(Group *group, int32 sessions, const int32 *opened)
{
	group->sessions += sessions;
	for (int i = 0; i < CPM_OPENED_SPANS; i++)
		group->opened[i] += opened[i];
}

/* Add the sessions of a row to the group of their pool and state. */
static void
add_to_group(Snapshot *snapshot, const CpmSnapshotRow *row)
{
	GroupKey	key = {.database = row->database, .role = row->role, .state = (int) row->state};
	Group	   *group;
	bool		found;

	cpm_pool_application(key.application_name, row->application_name, cpm_application_grouping);
	group = hash_search(snapshot->groups, &key, HASH_ENTER, &found);
	if (!found)
		memset((char *) group + sizeof(GroupKey), 0, sizeof(Group) - sizeof(GroupKey));
	add_sessions(group, row->sessions, row->opened);
}

static void
set_address(CpmAddress *address, const SockAddr *client)
{
	memset(address, 0, sizeof(*address));
	if (client->addr.ss_family == AF_INET)
	{
		address->bits = 32;
		memcpy(address->byte, &((const struct sockaddr_in *) &client->addr)->sin_addr, 4);
	}
	else if (client->addr.ss_family == AF_INET6)
	{
		address->bits = 128;
		memcpy(address->byte, &((const struct sockaddr_in6 *) &client->addr)->sin6_addr, 16);
	}
}

/* Set the fields that rows of sessions and of groups both have. */
static void
fill_group_fields(CpmSnapshotRow *row, const CpmSession *session, TimestampTz at)
{
	memset(row, 0, sizeof(*row));
	row->database = session->database;
	row->role = session->role;
	row->sessions = 1;
	strlcpy(row->application_name, session->application_name, NAMEDATALEN);
	row->state = (uint32) session->state;
	for (int i = 0; i < CPM_OPENED_SPANS && session->opened_at != 0; i++)
		row->opened[i] = cpm_age_us(at, session->opened_at) <= opened_span_us[i];
}

static void
fill_session_fields(CpmSnapshotRow *row, const CpmSession *session, TimestampTz at,
					const Locks *locks, int blocks)
{
	const char *wait_event_type = pgstat_get_wait_event_type(session->wait_event_info);
	const char *wait_event = pgstat_get_wait_event(session->wait_event_info);

	row->pid = session->pid;
	set_address(&row->client_addr, &session->client_addr);
	strlcpy(row->wait_event_type, wait_event_type ? wait_event_type : "",
			sizeof(row->wait_event_type));
	strlcpy(row->wait_event, wait_event ? wait_event : "", sizeof(row->wait_event));
	row->state_age_us = session->state_change != 0 ? cpm_age_us(at, session->state_change) : -1;
	row->xact_age_us = session->xact_start != 0 ? cpm_age_us(at, session->xact_start) : -1;
	row->queryid = session->queryid;
	row->root_blocker = root_blocker_of(locks, session);
	row->blocks = blocks;
}

/* Make the session a candidate for a row, or count it in its group. */
static void
add_session(const CpmSession *session, void *arg)
{
	Snapshot   *snapshot = arg;
	int			blocks = blocks_of(&snapshot->locks, session->pid);
	Candidate  *candidate;
	CpmSnapshotRow row;

	snapshot->visited++;
	fill_group_fields(&row, session, snapshot->at);
	if (!cpm_is_busy_state(session->state) && blocks == 0)
	{
		add_to_group(snapshot, &row);
		return;
	}
	fill_session_fields(&row, session, snapshot->at, &snapshot->locks, blocks);
	if (snapshot->candidates == snapshot->capacity)
	{
		snapshot->capacity *= 2;
		snapshot->candidate = repalloc_huge(snapshot->candidate,
											snapshot->capacity * sizeof(Candidate));
	}
	candidate = &snapshot->candidate[snapshot->candidates++];
	candidate->row = row;
	candidate->since = session->xact_start != 0 ? session->xact_start : session->state_change;
}

static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->row.blocks != y->row.blocks)
		return x->row.blocks > y->row.blocks ? -1 : 1;
	return (x->since > y->since) - (x->since < y->since);
}

static int
compare_groups(const void *a, const void *b)
{
	const Group *x = *(Group *const *) a;
	const Group *y = *(Group *const *) b;

	return (x->sessions < y->sessions) - (x->sessions > y->sessions);
}

static void
fill_group_row(CpmSnapshotRow *row, const Group *group)
{
	memset(row, 0, sizeof(*row));
	row->database = group->key.database;
	row->role = group->key.role;
	row->sessions = group->sessions;
	strlcpy(row->application_name, group->key.application_name, NAMEDATALEN);
	row->state = (uint32) group->key.state;
	memcpy(row->opened, group->opened, sizeof(row->opened));
}

/* Write the rows of groups and return their number. */
static int
write_groups(HTAB *groups, CpmSnapshotRow *row)
{
	int			count = (int) hash_get_num_entries(groups);
	Group	  **group = palloc((count + 1) * sizeof(Group *));
	Group		merged[CPM_STATES] = {0};
	HASH_SEQ_STATUS scan;
	int			rows = 0;

	hash_seq_init(&scan, groups);
	for (int i = 0; i < count; i++)
		group[i] = hash_seq_search(&scan);
	hash_seq_term(&scan);
	qsort(group, count, sizeof(Group *), compare_groups);
	for (int i = 0; i < Min(count, MAX_GROUPS); i++)
		fill_group_row(&row[rows++], group[i]);
	for (int i = MAX_GROUPS; i < count; i++)
		add_sessions(&merged[group[i]->key.state], group[i]->sessions, group[i]->opened);
	for (int state = 0; state < CPM_STATES; state++)
	{
		merged[state].key.state = state;
		if (merged[state].sessions > 0)
			fill_group_row(&row[rows++], &merged[state]);
	}
	return rows;
}

/* Write the rows of the snapshot and return their number. */
static int
write_rows(Snapshot *snapshot, CpmSnapshotRow *row)
{
	int			rows = Min(snapshot->candidates, CPM_INCIDENT_SESSIONS);

	qsort(snapshot->candidate, snapshot->candidates, sizeof(Candidate), compare_candidates);
	for (int i = 0; i < snapshot->candidates; i++)
	{
		const CpmSnapshotRow *candidate = &snapshot->candidate[i].row;

		if (i < rows)
			row[i] = *candidate;
		else
			add_to_group(snapshot, candidate);
	}
	return rows + write_groups(snapshot->groups, &row[rows]);
}

int
cpm_snapshot_rows(CpmSnapshotRow **rows)
{
	HASHCTL		control = {.keysize = sizeof(GroupKey), .entrysize = sizeof(Group)};
	Snapshot	snapshot = {.at = GetCurrentTimestamp(), .capacity = CPM_INCIDENT_SESSIONS};
	CpmSnapshotRow starting = {.state = CPM_STATE_STARTING};
	int			slots;

	control.hcxt = CurrentMemoryContext;
	snapshot.groups = hash_create("connpool_monitor groups", 64, &control,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	snapshot.candidate = palloc(snapshot.capacity * sizeof(Candidate));
	read_locks(&snapshot.locks);
	slots = cpm_backends_scan(CPM_SCAN_ACTIVITY, add_session, &snapshot);
	/* sessions that authenticate hold slots; the scan does not visit them before PostgreSQL 18 */
	starting.sessions = slots - snapshot.visited;
	if (starting.sessions > 0)
		add_to_group(&snapshot, &starting);
	*rows = palloc(CPM_SNAPSHOT_ROWS * sizeof(CpmSnapshotRow));
	return write_rows(&snapshot, *rows);
}
