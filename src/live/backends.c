/* SPDX-License-Identifier: PostgreSQL */
/*
 * backends.c
 *		Scans the client sessions in PostgreSQL's shared memory.
 *
 * Reads PGPROCs and the backend status array in place, without locks. PostgreSQL's own
 * pgstat_read_current_status() was rejected: it copies every query text and takes a lock for each
 * backend, and its copy lasts until the transaction ends. Clearing that copy would also clear the
 * snapshot behind pg_stat_activity in the user's transaction.
 *
 * The array is private to PostgreSQL, but each process has a pointer to its own entry (MyBEEntry)
 * and can compute the entry's index. A worker that starts with the postmaster has no entry, and
 * uses the address that another process published: shared memory has the same address in all
 * processes.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/set_back.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/text_settings.h"
#include "base/wait_class.h"
#include "catalog/pg_authid.h"
#include "commands/progress.h"
#include "counters/backend_counters.h"
#include "live/backends.h"
#include "live/client_waits.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "replication/walsender.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

/*
 * A backend changes its entry within nanoseconds. If an entry is not readable after this many
 * attempts, the backend was stopped in mid-change, and the scan skips it.
 */
#define MAX_READ_TRIES 100000

/*
 * How many PGPROCs ahead of the current one the scans prefetch. The scan of waits needs a greater
 * distance, because it spends less time on each PGPROC.
 */
#define PROCS_AHEAD 4
#define WAITS_AHEAD 32

typedef struct BackendsArea
{
	/*
	 * The address of the backend status array; 0 until a process publishes it. Processes may race
	 * to write it, but all write the same value.
	 */
	pg_atomic_uint64 address;
} BackendsArea;

/* NULL if the library is not preloaded. */
static BackendsArea *backends;

/* Whether the times that the current scan reads must be corrected; set when it begins. */
static bool is_set_back;

/*
 * The PGPROCs from first_waiting to end_waiting - 1 include those of all parallel workers that
 * waited for a lock when the current scan began. Usually there are none.
 */
static int	first_waiting;
static int	end_waiting;

static CpmState
state_of(const PgBackendStatus *entry)
{
	switch (entry->st_state)
	{
		case STATE_IDLE:
			return CPM_STATE_IDLE;
		case STATE_RUNNING:
			return CPM_STATE_ACTIVE;
		case STATE_IDLEINTRANSACTION:
			return CPM_STATE_IDLE_IN_TRANSACTION;
		case STATE_FASTPATH:
			return CPM_STATE_FASTPATH;
		case STATE_IDLEINTRANSACTION_ABORTED:
			return CPM_STATE_IDLE_IN_TRANSACTION_ABORTED;
		case STATE_DISABLED:
			return CPM_STATE_DISABLED;
		default:
			/* a session that is not ready for its first statement has no defined state */
			return cpm_is_starting(entry->st_state) ? CPM_STATE_STARTING : CPM_STATE_UNKNOWN;
	}
}

/* Copy the fields that every scan needs; returns false if no client session uses the entry. */
static bool
copy_basics(const volatile PgBackendStatus *shared, CpmSession *session)
{
	const PgBackendStatus *entry = (const PgBackendStatus *) shared;

	session->pid = entry->st_procpid;
	if (session->pid <= 0 || entry->st_backendType != B_BACKEND)
		return false;

	session->database = entry->st_databaseid;
	session->role = entry->st_userid;
	session->state = state_of(entry);
	session->connected_at = session->opened_at = entry->st_proc_start_timestamp;
	session->recorded_xact_start = session->xact_start = entry->st_xact_start_timestamp;
	session->recorded_query_start = session->query_start = entry->st_activity_start_timestamp;
	session->recorded_state_change = session->state_change = entry->st_state_start_timestamp;
	session->copied_bytes = session->state == CPM_STATE_ACTIVE &&
		entry->st_progress_command == PROGRESS_COMMAND_COPY ?
		entry->st_progress_param[PROGRESS_COPY_BYTES_PROCESSED] : -1;
	strlcpy(session->application_name, entry->st_appname, NAMEDATALEN);
	return true;
}

/* Copy the query id and the client address, which are in cache lines that no metric needs. */
static void
copy_activity(const volatile PgBackendStatus *shared, CpmSession *session)
{
	const PgBackendStatus *entry = (const PgBackendStatus *) shared;

	session->queryid = entry->st_query_id;
	memcpy(&session->client_addr, &entry->st_clientaddr, sizeof(SockAddr));
}

static void
clear_activity(CpmSession *session)
{
	session->queryid = 0;
	session->client_addr.addr.ss_family = AF_UNSPEC;
	session->client_addr.salen = 0;
}

/* Return true if the scan reads the wait event, query id and client address of the session. */
static bool
reads_activity(CpmScan scan, const CpmSession *session)
{
	return scan == CPM_SCAN_QUERIES ||
		(scan == CPM_SCAN_ACTIVITY && cpm_is_busy_state(session->state));
}

/*
 * Copy one entry, and retry if its backend changes it meanwhile. Returns false if no client
 * session uses the entry. query is a buffer of pgstat_track_activity_query_size bytes, which only
 * CPM_SCAN_QUERIES needs.
 */
static bool
read_entry(const volatile PgBackendStatus *entry, CpmScan scan, CpmSession *session, char *query)
{
	for (int tries = 0; tries < MAX_READ_TRIES; tries++)
	{
		int			before;
		int			after;
		bool		is_session;

		pgstat_begin_read_activity(entry, before);
		is_session = copy_basics(entry, session);
		if (is_session && reads_activity(scan, session))
			copy_activity(entry, session);
		else
			clear_activity(session);
		if (is_session && scan == CPM_SCAN_QUERIES)
			strlcpy(query, ((const PgBackendStatus *) entry)->st_activity_raw,
					pgstat_track_activity_query_size);
		pgstat_end_read_activity(entry, after);
		if (pgstat_read_activity_complete(before, after))
			return is_session;
	}
	return false;
}

/*
 * Return the pid of the client session that owns the PGPROC; 0 if there is none. Reads the owner
 * of the latch, because before PostgreSQL 17 a PGPROC keeps its pid after the process has ended.
 * The PGPROCs of client sessions come from freeProcs, and only these count towards
 * max_connections.
 */
static int
slot_owner(const volatile PGPROC *proc)
{
	if (proc->procgloballist != &ProcGlobal->freeProcs)
		return 0;
	return proc->procLatch.owner_pid;
}

/*
 * Return when the process began to wait for a heavyweight lock; 0 if it does not wait. waitStart
 * alone is not enough: a wait that fails (timeout, cancel, deadlock) does not reset it.
 */
static TimestampTz
lock_wait_start(const volatile PGPROC *proc)
{
	if (proc->waitLock == NULL)
		return 0;
	return (TimestampTz) pg_atomic_read_u64((pg_atomic_uint64 *) &proc->waitStart);
}

/* Return the same, corrected if the clock was set back. */
static TimestampTz
corrected_wait_start(const volatile PGPROC *proc)
{
	TimestampTz since = lock_wait_start(proc);

	return unlikely(is_set_back) ?
		cpm_corrected_time(cpm_proc_number(proc), CPM_TIME_LOCK_WAIT_START, since) : since;
}

/* Begin a scan: set the variables whose values are the same for all sessions. */
static void
begin_scan(void)
{
	int			end = MaxBackends - max_wal_senders;	/* of the PGPROCs of background workers */

	is_set_back = cpm_is_set_back();
	first_waiting = end_waiting = 0;
	for (int i = end - max_worker_processes; i < end; i++)
	{
		const volatile PGPROC *worker = &ProcGlobal->allProcs[i];

		if (likely(worker->waitLock == NULL) || worker->lockGroupLeader == NULL)
			continue;
		if (end_waiting == 0)
			first_waiting = i;
		end_waiting = i + 1;
	}
}

/*
 * Return the PGPROC that has waited longest for a heavyweight lock, among the given one and those
 * of the parallel workers that it leads; the given one if none waits. PGPROCs are reused, but
 * their memory is never freed, so those of workers can be read without a lock.
 */
static const volatile PGPROC *
longest_waiter(const volatile PGPROC *leader)
{
	const volatile PGPROC *longest = leader;

	for (int i = first_waiting; i < end_waiting; i++)
	{
		const volatile PGPROC *worker = &ProcGlobal->allProcs[i];
		TimestampTz since = worker->lockGroupLeader == leader ? corrected_wait_start(worker) : 0;
		TimestampTz longest_since = corrected_wait_start(longest);

		if (since != 0 && (longest_since == 0 || since < longest_since))
			longest = worker;
	}
	return longest;
}

/*
 * Look up the name of the session's role, and whether the role may read all data; returns false
 * if the role is unknown. Reads the session's slot or, if the library is not preloaded, the
 * catalogs. In that case the caller is a session, because there are no workers, so it can read
 * catalogs.
 */
static bool
role_of(const CpmSession *session, bool *is_trusted, char *role)
{
	char	   *name;

	if (cpm_is_preloaded())
		return cpm_slot_role(session->proc_number, session->pid, is_trusted, role);
	name = GetUserNameFromId(session->role, true);
	if (name == NULL)
		return false;
	strlcpy(role, name, NAMEDATALEN);
	*is_trusted = has_privs_of_role(session->role, ROLE_PG_READ_ALL_DATA);
	return true;
}

/*
 * Return true if the session is exempt from metrics that measure ages. Any client can choose any
 * application_name, so an exemption also depends on the role, and it expires.
 */
static bool
is_exempt(const CpmSession *session)
{
	TimestampTz since = session->xact_start != 0 ? session->xact_start : session->state_change;
	char		role[NAMEDATALEN];
	bool		is_trusted;

	return cpm_settings_exempts_application(session->application_name) &&
		cpm_age_us(GetCurrentTimestamp(), since) <= cpm_settings_exempt_limit_us() &&
		role_of(session, &is_trusted, role) &&
		cpm_settings_is_exempt(session->application_name, role, is_trusted);
}

/*
 * Return a palloc'd copy of a query text without the incomplete character that truncation may have
 * left at its end. pgstat_clip_activity() is not used, because it writes past the end of its copy
 * if the text ends in the first byte of a multibyte character, as text in another encoding may.
 */
static char *
copy_clipped(const char *query)
{
	int			length = (int) strlen(query);
	int			whole = pg_mbcliplen(query, length, pgstat_track_activity_query_size - 1);

	return pnstrdup(query, Min(whole, length));
}

/* Correct the times of a session that were recorded before the clock was set back. */
static void
correct_times(CpmSession *session)
{
	int			number = session->proc_number;

	session->opened_at = cpm_corrected_time(number, CPM_TIME_CONNECTED, session->connected_at);
	session->xact_start = cpm_corrected_time(number, CPM_TIME_XACT_START, session->xact_start);
	session->query_start = cpm_corrected_time(number, CPM_TIME_QUERY_START, session->query_start);
	session->state_change = cpm_corrected_time(number, CPM_TIME_STATE_CHANGE,
											   session->state_change);
	session->lock_wait_start = cpm_corrected_time(session->waiter_number,
												  CPM_TIME_LOCK_WAIT_START,
												  session->lock_wait_start);
}

/*
 * Read the session of a PGPROC; returns false if its backend status is not available or already
 * belongs to another process.
 */
static bool
read_session(const volatile PGPROC *proc, int owner_pid, const PgBackendStatus *entries,
			 CpmScan scan, CpmSession *session, char *query)
{
	const volatile PGPROC *waiter;
	int			index = cpm_status_index(proc);

	if (entries == NULL || index < 0)
		return false;
	if (!read_entry(&entries[index], scan, session, query) || session->pid != owner_pid)
		return false;

	session->proc_number = cpm_proc_number(proc);
	/* skip it for other sessions, because it is in a cache line that nothing else here needs */
	session->wait_event_info = reads_activity(scan, session) || cpm_is_active(session) ?
		proc->wait_event_info : 0;
	/* only an active session leads parallel workers */
	waiter = cpm_is_active(session) ? longest_waiter(proc) : proc;
	session->waiter_number = cpm_proc_number(waiter);
	session->recorded_lock_wait_start = session->lock_wait_start = lock_wait_start(waiter);
	if (unlikely(is_set_back))
		correct_times(session);
	/* last, because they read the fields set above */
	session->exempt = is_exempt(session);
	session->client_wait_since = cpm_client_wait_since(session, &session->client_wait_id);
	return true;
}

/* Return the backend status array; NULL if no process has published its address yet. */
static const PgBackendStatus *
status_array(void)
{
	if (MyBEEntry)
		return MyBEEntry - cpm_own_status_index();
	if (backends == NULL)
		return NULL;
	return (const PgBackendStatus *) (uintptr_t) pg_atomic_read_u64(&backends->address);
}

Size
cpm_backends_size(void)
{
	return sizeof(BackendsArea);
}

void
cpm_backends_attach(void *memory, bool is_new)
{
	backends = memory;
	if (!is_new)
		return;
	pg_atomic_init_u64(&backends->address, 0);
}

void
cpm_backends_publish(void)
{
	if (MyBEEntry && pg_atomic_read_u64(&backends->address) == 0)
		pg_atomic_write_u64(&backends->address, (uint64) (uintptr_t) status_array());
}

bool
cpm_backends_is_published(void)
{
	return backends && pg_atomic_read_u64(&backends->address) != 0;
}

/*
 * Prefetch in two steps: a PGPROC when it is 2 * PROCS_AHEAD entries ahead, and its backend status
 * and slot when it is PROCS_AHEAD entries ahead. The status needs a step of its own, because its
 * address depends on the PGPROC.
 */
static void
prefetch_ahead(int current, const PgBackendStatus *entries)
{
	int			last = MaxBackends - 1;
	const volatile PGPROC *second = &ProcGlobal->allProcs[Min(current + 2 * PROCS_AHEAD, last)];
	const volatile PGPROC *first = &ProcGlobal->allProcs[Min(current + PROCS_AHEAD, last)];
	int			index = cpm_status_index(first);

	cpm_prefetch(&second->procgloballist);
	cpm_prefetch(&second->procLatch);
	cpm_prefetch(&second->waitLock);
	cpm_prefetch(&second->waitStart);
	cpm_slot_prefetch_pool(Min(current + PROCS_AHEAD, last));
	if (entries == NULL || index < 0 || index >= MaxBackends)
		return;
	cpm_prefetch(&entries[index].st_changecount);
	cpm_prefetch(&entries[index].st_userid);
	cpm_prefetch(&entries[index].st_appname);
}

bool
cpm_backends_read(int proc_number, CpmSession *session)
{
	const volatile PGPROC *proc = &ProcGlobal->allProcs[proc_number];
	int			owner_pid = slot_owner(proc);
	char	   *query = palloc(pgstat_track_activity_query_size);
	bool		is_session;

	begin_scan();
	is_session = owner_pid != 0 &&
		read_session(proc, owner_pid, status_array(), CPM_SCAN_QUERIES, session, query);
	session->query = NULL;
	pfree(query);
	return is_session;
}

/*
 * Record the times of a PGPROC that are from before a step of the clock. If it has no client
 * session, record only the start of its lock wait, because readers need no other time of it.
 */
static void
record_times(int proc_number, const CpmClockStep *step)
{
	const volatile PGPROC *proc = &ProcGlobal->allProcs[proc_number];
	const PgBackendStatus *entries = status_array();
	int			index = cpm_status_index(proc);
	TimestampTz recorded[CPM_RECORDED_TIMES] = {0};
	CpmSession	session;

	recorded[CPM_TIME_LOCK_WAIT_START] = lock_wait_start(proc);
	if (slot_owner(proc) != 0 && entries != NULL && index >= 0 &&
		read_entry(&entries[index], CPM_SCAN_STATES, &session, NULL))
	{
		recorded[CPM_TIME_CONNECTED] = session.connected_at;
		recorded[CPM_TIME_XACT_START] = session.xact_start;
		recorded[CPM_TIME_QUERY_START] = session.query_start;
		recorded[CPM_TIME_STATE_CHANGE] = session.state_change;
	}
	cpm_set_back_record(proc_number, step, recorded);
}

CpmClockStep
cpm_backends_check_clock(void)
{
	CpmClockStep step = cpm_set_back_check();

	for (int i = 0; step.setback_us != 0 && i < CPM_WAITING_PROCS; i++)
		record_times(i, &step);
	return step;
}

void
cpm_backends_scan_waits(CpmProcWaitVisitor visit, void *arg)
{
	begin_scan();
	for (int i = 0; i < CPM_WAITING_PROCS; i++)
	{
		const volatile PGPROC *proc = &ProcGlobal->allProcs[i];
		const volatile PGPROC *leader;
		int			ahead = Min(i + WAITS_AHEAD, CPM_WAITING_PROCS - 1);
		CpmProcWait wait;

		cpm_prefetch(&ProcGlobal->allProcs[ahead].waitLock);
		wait.lock = (uintptr_t) proc->waitLock;
		if (likely(wait.lock == 0))
			continue;
		leader = proc->lockGroupLeader;
		if (leader == NULL)
			leader = proc;
		wait.pid = proc->pid;
		wait.proc_number = i;
		wait.leader_pid = leader->pid;
		wait.leader_number = cpm_proc_number(leader);
		wait.is_client = slot_owner(leader) != 0 && longest_waiter(leader) == proc;
		wait.mode = proc->waitLockMode;
		wait.recorded_since = lock_wait_start(proc);
		wait.since = is_set_back ?
			cpm_corrected_time(i, CPM_TIME_LOCK_WAIT_START, wait.recorded_since) :
			wait.recorded_since;
		/* the wait may have ended meanwhile, and a wait that just began has no start yet */
		if (wait.recorded_since != 0)
			visit(&wait, arg);
	}
}

bool
cpm_backends_is_client(int pid)
{
	const PGPROC *proc = BackendPidGetProc(pid);

	return proc != NULL && slot_owner(proc) == pid;
}

bool
cpm_backends_longest_wait(int pid, int *waiter_pid, TimestampTz *since)
{
	const volatile PGPROC *proc = BackendPidGetProc(pid);

	if (proc == NULL)
		proc = AuxiliaryPidGetProc(pid);
	if (proc == NULL)
		return false;
	begin_scan();
	proc = longest_waiter(proc);
	*waiter_pid = proc->pid;
	*since = corrected_wait_start(proc);
	return *since != 0;
}

bool
cpm_backends_lock_wait_failed(int proc_number, int pid)
{
	const volatile PGPROC *proc = &ProcGlobal->allProcs[proc_number];

	/* PostgreSQL sets waitLock to NULL before it replaces PROC_WAIT_STATUS_WAITING */
	return proc->pid == pid && proc->waitLock == NULL &&
		proc->waitStatus != PROC_WAIT_STATUS_OK;
}

int
cpm_backends_scan(CpmScan scan, CpmSessionVisitor visit, void *arg)
{
	const PgBackendStatus *entries = status_array();
	char	   *query = scan == CPM_SCAN_QUERIES ? palloc(pgstat_track_activity_query_size) : NULL;
	int			slots_in_use = 0;

	begin_scan();
	for (int i = 0; i < MaxBackends; i++)
	{
		const volatile PGPROC *proc = &ProcGlobal->allProcs[i];
		int			owner_pid = slot_owner(proc);
		CpmSession	session;

		prefetch_ahead(i, entries);
		if (owner_pid == 0)
			continue;
		slots_in_use++;

		if (!read_session(proc, owner_pid, entries, scan, &session, query))
			continue;
		if (scan == CPM_SCAN_QUERIES)
			session.query = copy_clipped(query);
		visit(&session, arg);
	}
	return slots_in_use;
}
