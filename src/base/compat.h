/* SPDX-License-Identifier: PostgreSQL */
/*
 * compat.h
 *		Hides the differences between PostgreSQL 15 and 19.
 *
 * No other file uses PG_VERSION_NUM; scripts/check-includes enforces this. This file therefore
 * also includes the headers that exist only in some versions; other files get them from here.
 */
#ifndef CPM_COMPAT_H
#define CPM_COMPAT_H

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "executor/execdesc.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/pathnode.h"
#include "postmaster/postmaster.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* PostgreSQL 16 moved the macros for variable-length values from postgres.h to varatt.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* These declare MyProcNumber and MyBackendId, respectively. */
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#else
#include "storage/backendid.h"
#endif

/* PostgreSQL 18 moved wait event sets out of storage/latch.h. */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* PostgreSQL 19 moved LOCKTAG out of storage/lock.h. */
#if PG_VERSION_NUM >= 190000
#include "storage/locktag.h"
#endif

#if PG_VERSION_NUM < 150000
#error "connpool_monitor needs PostgreSQL 15 or later"
#endif

/*
 * Return how many slots of max_connections are reserved for superusers and, since PostgreSQL 16,
 * for members of pg_use_reserved_connections.
 */
static inline int
cpm_reserved_slots(void)
{
#if PG_VERSION_NUM >= 160000
	return SuperuserReservedConnections + ReservedConnections;
#else
	return ReservedBackends;
#endif
}

/* Return the index of a PGPROC, from 0. */
static inline int
cpm_proc_number(const volatile PGPROC *proc)
{
	return (int) (proc - ProcGlobal->allProcs);
}

/*
 * Return the index of this process in the array of PgBackendStatus. Since PostgreSQL 17 it is the
 * index of its PGPROC. Up to 16 it is its backend id - 1, and negative while it has no backend id.
 */
static inline int
cpm_own_status_index(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyBackendId - 1;
#endif
}

/* Return the same index for the process that owns a PGPROC. */
static inline int
cpm_status_index(const volatile PGPROC *proc)
{
#if PG_VERSION_NUM >= 170000
	return cpm_proc_number(proc);
#else
	int			backend_id = proc->backendId;

	return backend_id > 0 ? backend_id - 1 : -1;
#endif
}

/*
 * Return true if the state is that of a session that is authenticating. Always false before
 * PostgreSQL 18, which introduced that state.
 */
static inline bool
cpm_is_starting(BackendState state)
{
#if PG_VERSION_NUM >= 180000
	return state == STATE_STARTING;
#else
	(void) state;
	return false;
#endif
}

/*
 * Return the header of a row value, detoasted if necessary. DatumGetHeapTupleHeader() is not used
 * because it became a function in minor releases (15.20 has it, 15.18 does not): a library built
 * with the newer release could not be loaded by a server of the older one, and that server would
 * not start.
 */
static inline HeapTupleHeader
cpm_row_header(Datum row)
{
	return (HeapTupleHeader) PG_DETOAST_DATUM(row);
}

/*
 * Allocate and free the "extra" of a check hook; allocation returns NULL if out of memory.
 * PostgreSQL 16 replaced malloc() by a memory context for settings.
 */
static inline void *
cpm_guc_malloc(size_t size)
{
#if PG_VERSION_NUM >= 160000
	return guc_malloc(LOG, size);
#else
	return malloc(size);
#endif
}

static inline void
cpm_guc_free(void *extra)
{
#if PG_VERSION_NUM >= 160000
	guc_free(extra);
#else
	free(extra);
#endif
}

/*
 * Ignore a signal: a handler for pqsignal(). SIG_IGN cannot be used, because PostgreSQL 19 added
 * an argument to handlers, and clang warns about the cast in its replacement for SIG_IGN.
 */
static inline void
cpm_signal_ignored(SIGNAL_ARGS)
{
	(void) postgres_signal_arg;
#if PG_VERSION_NUM >= 190000
	(void) pg_siginfo;
#endif
}

/* Return a wait event for our workers to sleep in. Before PostgreSQL 17 it cannot be named. */
static inline uint32
cpm_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/*
 * Return this process's log_min_messages, which also limits the messages that emit_log_hook
 * receives. PostgreSQL 19 has a value for each type of backend; returns that of client sessions.
 * In this setting LOG ranks between ERROR and FATAL, although the constant LOG is less than ERROR.
 */
static inline int
cpm_log_min_messages(void)
{
#if PG_VERSION_NUM >= 190000
	return log_min_messages[B_BACKEND];
#else
	return log_min_messages;
#endif
}

/* Return true if messages of level ERROR are logged, and thus reach emit_log_hook. */
static inline bool
cpm_errors_are_logged(int min_messages)
{
	return min_messages <= ERROR && min_messages != LOG;
}

/*
 * Return true if emit_log_hook can count every rejected connection. That requires that rejections
 * are logged, and that the processes that log them are attached to shared memory. With
 * EXEC_BACKEND, processes log most rejections before they are attached.
 */
static inline bool
cpm_rejections_are_logged(int min_messages)
{
#ifdef EXEC_BACKEND
	(void) min_messages;
	return false;
#else
	return min_messages <= FATAL;
#endif
}

/* Return true if the current user may execute the function. */
static inline bool
cpm_may_execute(Oid function)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/*
 * Return a path for scanning a foreign table, with an estimate of one row and a cost of 1.
 * PostgreSQL 17 added the parameter fdw_restrictinfo, 18 the number of disabled nodes.
 */
static inline ForeignPath *
cpm_foreign_scan_path(PlannerInfo *root, RelOptInfo *rel)
{
#if PG_VERSION_NUM >= 180000
	return create_foreignscan_path(root, rel, NULL, 1, 0, 0, 1, NIL, rel->lateral_relids, NULL,
								   NIL, NIL);
#elif PG_VERSION_NUM >= 170000
	return create_foreignscan_path(root, rel, NULL, 1, 0, 1, NIL, rel->lateral_relids, NULL, NIL,
								   NIL);
#else
	return create_foreignscan_path(root, rel, NULL, 1, 0, 1, NIL, rel->lateral_relids, NULL, NIL);
#endif
}

/* Create a wait event set in TopMemoryContext, without a resource owner: the caller frees it. */
static inline WaitEventSet *
cpm_create_wait_set(int events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, events);
#else
	return CreateWaitEventSet(TopMemoryContext, events);
#endif
}

/* Prefetch a cache line before a scan reads it, because another CPU has probably modified it. */
#if defined(__GNUC__) || defined(__clang__)
#define cpm_prefetch(address) __builtin_prefetch((const void *) (address))
#else
#define cpm_prefetch(address) ((void) (address))
#endif

/* PostgreSQL 18 removed execute_once from ExecutorRun(). */
#if PG_VERSION_NUM >= 180000
#define CPM_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define CPM_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define CPM_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define CPM_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* Create or find a hash table of fixed size in shared memory. */
static inline HTAB *
cpm_shmem_hash(const char *name, int size, HASHCTL *control, int flags)
{
#if PG_VERSION_NUM >= 190000
	return ShmemInitHash(name, size, control, flags | HASH_FIXED_SIZE);
#else
	return ShmemInitHash(name, size, size, control, flags | HASH_FIXED_SIZE);
#endif
}

/*
 * Write the path of a prepared transaction's state file to "path". Since PostgreSQL 17 the name
 * includes the epoch, and reading the epoch takes XidGenLock in shared mode.
 */
static inline void
cpm_twophase_file_name(char *path, size_t size, TransactionId xid)
{
#if PG_VERSION_NUM >= 170000
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	snprintf(path, size, "pg_twophase/%08X%08X", epoch, xid);
#else
	snprintf(path, size, "pg_twophase/%08X", xid);
#endif
}

/* Return true if the same virtual transaction holds or awaits both locks. */
static inline bool
cpm_is_same_virtual_transaction(const LockInstanceData *a, const LockInstanceData *b)
{
#if PG_VERSION_NUM >= 170000
	return VirtualTransactionIdEquals(a->vxid, b->vxid);
#else
	return a->backend == b->backend && a->lxid == b->lxid;
#endif
}

/*
 * Define a function that returns the entry after "previous" in a list of PROCLOCKs, or the first
 * entry if "previous" is NULL; it returns NULL at the end of the list. Callers hold the lock of
 * the partition of the lock table. PostgreSQL 16 replaced SHM_QUEUE with dlist_head.
 *
 * cpm_next_own_lock() lists the locks that this process holds or awaits in a partition.
 * cpm_next_lock_owner() lists the processes that hold or await a lock.
 */
#if PG_VERSION_NUM >= 160000
#define CPM_NEXT_PROCLOCK(name, parameter, list_, link) \
static inline PROCLOCK * \
name(parameter, PROCLOCK *previous) \
{ \
	dlist_head *list = list_; \
	dlist_node *node = previous != NULL ? &previous->link : &list->head; \
\
	if (dlist_is_empty(list) || !dlist_has_next(list, node)) \
		return NULL; \
	return dlist_container(PROCLOCK, link, node->next); \
}
#else
#define CPM_NEXT_PROCLOCK(name, parameter, list_, link) \
static inline PROCLOCK * \
name(parameter, PROCLOCK *previous) \
{ \
	SHM_QUEUE  *list = list_; \
\
	return (PROCLOCK *) SHMQueueNext(list, previous != NULL ? &previous->link : list, \
									 offsetof(PROCLOCK, link)); \
}
#endif

CPM_NEXT_PROCLOCK(cpm_next_own_lock, int partition, &MyProc->myProcLocks[partition], procLink)
CPM_NEXT_PROCLOCK(cpm_next_lock_owner, LOCK *lock, &lock->procLocks, lockLink)

#if PG_VERSION_NUM >= 180000
#define CPM_MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC_EXT(.name = name_, .version = version_)
#else
#define CPM_MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC
#endif

#endif							/* CPM_COMPAT_H */
