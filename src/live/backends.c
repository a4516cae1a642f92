/* SPDX-License-Identifier: PostgreSQL */
/*
 * backends.c
 *		One pass over PostgreSQL's own record of its client sessions.
 *
 * Reads PGPROCs and the backend status array in place, writes nothing and
 * takes no lock. The server's own way, pgstat_read_current_status(), was
 * rejected: it copies every session's query text, takes a lock for each
 * backend, keeps the copy until the transaction ends (so a second call in it
 * would see the past), and clearing it would also clear the snapshot behind
 * pg_stat_activity in the user's transaction.
 *
 * The array itself is private to PostgreSQL, but every process has a pointer
 * to its own entry in it (MyBEEntry) and knows at which index that stands. A
 * worker that starts with the postmaster has none, and takes the address that
 * somebody who has has published: shared memory is where it is for everybody.
 *
 * A slot is in use while its latch is owned: a freed PGPROC keeps its old pid
 * until 17. It is a client's when it came from the list of regular backends;
 * walsenders, autovacuum and background workers have lists of their own.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "commands/progress.h"
#include "counters/backend_counters.h"
#include "live/backends.h"
#include "live/client_waits.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

/*
 * A writer is inside its entry for nanoseconds. One that is met there so often
 * was stopped there by a debugger or a signal; we go on without it.
 */
#define MAX_READ_TRIES 100000

#define PROCS_AHEAD 4

static pg_atomic_uint64 *published; /* the address of the array; NULL when not preloaded */

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
			/* undefined until the session is ready for its first statement */
			return cpm_is_starting(entry->st_state) ? CPM_STATE_STARTING : CPM_STATE_UNKNOWN;
	}
}

/* Copy what every pass needs. Returns false for an entry that is nobody's now. */
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
	session->connected_at = entry->st_proc_start_timestamp;
	session->xact_start = entry->st_xact_start_timestamp;
	session->query_start = entry->st_activity_start_timestamp;
	session->state_change = entry->st_state_start_timestamp;
	session->copied_bytes = session->state == CPM_STATE_ACTIVE ?
		entry->st_progress_param[PROGRESS_COPY_BYTES_PROCESSED] : 0;
	strlcpy(session->application_name, entry->st_appname, NAMEDATALEN);
	return true;
}

static void
copy_details(const volatile PgBackendStatus *shared, CpmSession *session, char *query)
{
	const PgBackendStatus *entry = (const PgBackendStatus *) shared;

	session->queryid = entry->st_query_id;
	memcpy(&session->client_addr, &entry->st_clientaddr, sizeof(SockAddr));
	strlcpy(query, entry->st_activity_raw, pgstat_track_activity_query_size);
}

/*
 * Read one entry by its change counter. query is a buffer of
 * pgstat_track_activity_query_size bytes, or NULL when no details are wanted.
 */
static bool
read_entry(const volatile PgBackendStatus *entry, CpmSession *session, char *query)
{
	for (int tries = 0; tries < MAX_READ_TRIES; tries++)
	{
		int			before;
		int			after;
		bool		is_session;

		pgstat_begin_read_activity(entry, before);
		is_session = copy_basics(entry, session);
		if (is_session && query)
			copy_details(entry, session, query);
		pgstat_end_read_activity(entry, after);
		if (pgstat_read_activity_complete(before, after))
			return is_session;
	}
	return false;
}

/* The pid that holds a slot of max_connections through this PGPROC; 0 for none. */
static int
slot_owner(const volatile PGPROC *proc)
{
	if (proc->procgloballist != &ProcGlobal->freeProcs)
		return 0;
	return proc->procLatch.owner_pid;
}

/*
 * Since when the process waits for a heavyweight lock; 0 when it does not. A
 * wait that failed (a timeout, a cancel, a deadlock) leaves waitStart as it was,
 * so that alone would count sessions for hours after they gave up.
 */
static TimestampTz
lock_wait_start(const volatile PGPROC *proc)
{
	if (proc->waitLock == NULL)
		return 0;
	return (TimestampTz) pg_atomic_read_u64((pg_atomic_uint64 *) &proc->waitStart);
}

/*
 * Look up the session's role; returns false if it is unknown. Reads the slots or, if not
 * preloaded, the catalogs: then the caller is always a session, never a worker.
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
 * Any client can choose any application_name, so an exemption also depends on the role, and
 * it expires.
 */
static bool
is_exempt(const CpmSession *session)
{
	TimestampTz since = session->xact_start != 0 ? session->xact_start : session->state_change;
	char		role[NAMEDATALEN];
	bool		is_trusted;

	return cpm_settings_exempts_application(session->application_name) &&
		GetCurrentTimestamp() - since <= cpm_settings_exempt_limit_us() &&
		role_of(session, &is_trusted, role) &&
		cpm_settings_is_exempt(session->application_name, role, is_trusted);
}

/*
 * Copy a query without the part of a character at which it may have been cut. Unlike
 * pgstat_clip_activity(), never writes behind the copy when the text ends in the first byte of
 * a longer character, as text of another encoding may.
 */
static char *
clipped(const char *query)
{
	int			length = (int) strlen(query);
	int			whole = pg_mbcliplen(query, length, pgstat_track_activity_query_size - 1);

	return pnstrdup(query, Min(whole, length));
}

static bool
read_session(const volatile PGPROC *proc, int owner_pid, const PgBackendStatus *entries,
			 CpmSession *session, char *query)
{
	int			index = cpm_status_index(proc);

	if (entries == NULL || index < 0)
		return false;
	if (!read_entry(&entries[index], session, query) || session->pid != owner_pid)
		return false;

	session->proc_number = cpm_proc_number(proc);
	session->exempt = is_exempt(session);
	session->lock_wait_start = lock_wait_start(proc);
	/* in a line of the cache that nothing else here reads: not for each idle session */
	session->wait_event_info = query || cpm_is_active(session) ? proc->wait_event_info : 0;
	session->client_wait_since = cpm_client_wait_since(session);
	return true;
}

/* NULL while nobody has told. */
static const PgBackendStatus *
status_array(void)
{
	if (MyBEEntry)
		return MyBEEntry - cpm_own_status_index();
	return published ? (const PgBackendStatus *) (uintptr_t) pg_atomic_read_u64(published) : NULL;
}

Size
cpm_backends_size(void)
{
	return sizeof(pg_atomic_uint64);
}

void
cpm_backends_attach(void *memory, bool is_new)
{
	published = memory;
	if (is_new)
		pg_atomic_init_u64(published, 0);
}

void
cpm_backends_publish(void)
{
	if (MyBEEntry && pg_atomic_read_u64(published) == 0)
		pg_atomic_write_u64(published, (uint64) (uintptr_t) status_array());
}

bool
cpm_backends_is_published(void)
{
	return published && pg_atomic_read_u64(published) != 0;
}

/*
 * Of the process that many places on, its PGPROC; of one that is nearer, whose PGPROC
 * is there by now, its status.
 */
static void
prefetch_ahead(int place, const PgBackendStatus *entries)
{
	const volatile PGPROC *far = &ProcGlobal->allProcs[Min(place + 2 * PROCS_AHEAD, MaxBackends - 1)];
	const volatile PGPROC *near = &ProcGlobal->allProcs[Min(place + PROCS_AHEAD, MaxBackends - 1)];
	int			index = cpm_status_index(near);

	cpm_prefetch(&far->procgloballist);
	cpm_prefetch(&far->procLatch);
	cpm_prefetch(&far->waitLock);
	cpm_prefetch(&far->waitStart);
	if (entries == NULL || index < 0 || index >= MaxBackends)
		return;
	cpm_prefetch(&entries[index].st_changecount);
	cpm_prefetch(&entries[index].st_userid);
	cpm_prefetch(&entries[index].st_appname);
}

int
cpm_backends_scan(bool with_details, CpmSessionVisitor visit, void *arg)
{
	const PgBackendStatus *entries = status_array();
	char	   *query = with_details ? palloc(pgstat_track_activity_query_size) : NULL;
	int			slots_in_use = 0;

	for (int i = 0; i < MaxBackends; i++)
	{
		const volatile PGPROC *proc = &ProcGlobal->allProcs[i];
		int			owner_pid = slot_owner(proc);
		CpmSession	session;

		prefetch_ahead(i, entries);
		if (owner_pid == 0)
			continue;
		slots_in_use++;

		if (!read_session(proc, owner_pid, entries, &session, query))
			continue;
		if (with_details)
			session.query = clipped(query);
		visit(&session, arg);
	}
	return slots_in_use;
}
