/* SPDX-License-Identifier: PostgreSQL */
/*
 * compat.h
 *		Everything that differs between PostgreSQL 15 and 19, and nothing else.
 *
 * The only file of the project that names PG_VERSION_NUM: other files use what
 * is defined here and look the same for every server.
 */
#ifndef CPM_COMPAT_H
#define CPM_COMPAT_H

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "executor/execdesc.h"
#include "fmgr.h"
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

/* 16 gave the headers of variable-length values a file of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Where the number of the own process is declared. */
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#else
#include "storage/backendid.h"
#endif

/* 18 split sets of wait events from storage/latch.h. */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* 19 split tags of locks from storage/lock.h. */
#if PG_VERSION_NUM >= 190000
#include "storage/locktag.h"
#endif

#if PG_VERSION_NUM < 150000
#error "connpool_monitor needs PostgreSQL 15 or later"
#endif

/*
 * Slots of max_connections that an ordinary role cannot have.
 * reserved_connections came with 16.
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

/* The number of a PGPROC, from 0. */
static inline int
cpm_proc_number(const volatile PGPROC *proc)
{
	return (int) (proc - ProcGlobal->allProcs);
}

/*
 * Where the calling process, and where the owner of a PGPROC, stand in the
 * array of backend statuses; -1 when the process has no place there yet.
 * Until 16 the array goes by backend id, since 17 by the PGPROC's number.
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

/* 18 shows sessions that are still authenticating; before they had no state. */
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
 * A row that a function of PostgreSQL's own returned. DatumGetHeapTupleHeader() became a
 * function in a minor release (15.20 has it, 15.18 has not), and a library that is built
 * with the newer one would keep a server of the older from starting.
 */
static inline HeapTupleHeader
cpm_row_header(Datum row)
{
	return (HeapTupleHeader) PG_DETOAST_DATUM(row);
}

/* Memory for a setting's "extra": 16 moved settings to a context of their own. */
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
 * For pqsignal(): a signal that does nothing. 19 gave handlers a second argument, and to
 * ignoring a name whose casts clang warns of.
 */
static inline void
cpm_signal_ignored(SIGNAL_ARGS)
{
	(void) postgres_signal_arg;
#if PG_VERSION_NUM >= 190000
	(void) pg_siginfo;
#endif
}

/* The wait event our workers sleep in; before 17 an extension could not name it. */
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
 * The least level that the server log shows, and so the least that a hook sees;
 * 19 has one for each kind of process. LOG, though it lies between the levels,
 * hides ERROR but not FATAL.
 */
static inline int
cpm_log_min_messages(void)
{
#if PG_VERSION_NUM >= 190000
	return log_min_messages[MyBackendType];
#else
	return log_min_messages;
#endif
}

/* Do errors reach the server log, and so a hook on it? */
static inline bool
cpm_errors_are_logged(void)
{
	int			level = cpm_log_min_messages();

	return level <= ERROR && level != LOG;
}

/*
 * Return true if every refusal reaches the server log, and so a hook on it that can count it.
 * With EXEC_BACKEND most are reported by processes that are not yet attached to shared memory.
 */
static inline bool
cpm_rejections_are_logged(void)
{
#ifdef EXEC_BACKEND
	return false;
#else
	return cpm_log_min_messages() <= FATAL;
#endif
}

/* Return true if the current user may execute the function. object_aclcheck() came with 16. */
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
 * Return a path for a scan of a foreign table with one row, at almost no cost. 17 added the
 * parameter fdw_restrictinfo, 18 the number of disabled nodes.
 */
static inline ForeignPath *
cpm_foreign_scan_path(PlannerInfo *root, RelOptInfo *rel)
{
#if PG_VERSION_NUM >= 180000
	return create_foreignscan_path(root, rel, NULL, 1, 0, 0, 1, NIL, rel->lateral_relids, NULL, NIL,
								   NIL);
#elif PG_VERSION_NUM >= 170000
	return create_foreignscan_path(root, rel, NULL, 1, 0, 1, NIL, rel->lateral_relids, NULL, NIL,
								   NIL);
#else
	return create_foreignscan_path(root, rel, NULL, 1, 0, 1, NIL, rel->lateral_relids, NULL, NIL);
#endif
}

/* A set of events to wait for; since 17 a resource owner may have it, which workers do without. */
static inline WaitEventSet *
cpm_create_wait_set(int events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, events);
#else
	return CreateWaitEventSet(TopMemoryContext, events);
#endif
}

/* Memory that will be read in a moment, in a walk over many processes: none of it is in this processor's cache. */
#if defined(__GNUC__) || defined(__clang__)
#define cpm_prefetch(address) __builtin_prefetch((const void *) (address))
#else
#define cpm_prefetch(address) ((void) (address))
#endif

/* 18 took a parameter from ExecutorRun. */
#if PG_VERSION_NUM >= 180000
#define CPM_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define CPM_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define CPM_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define CPM_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* A hash table of fixed size in shared memory; 19 has one number for its size. */
static inline HTAB *
cpm_shmem_hash(const char *name, int size, HASHCTL *control, int flags)
{
#if PG_VERSION_NUM >= 190000
	return ShmemInitHash(name, size, control, flags | HASH_FIXED_SIZE);
#else
	return ShmemInitHash(name, size, size, control, flags | HASH_FIXED_SIZE);
#endif
}

/* The name of a prepared transaction's state file, which has an epoch since 17. */
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

/* Return true if one virtual transaction holds both locks. Its id is one value since 17. */
static inline bool
cpm_is_same_virtual_transaction(const LockInstanceData *a, const LockInstanceData *b)
{
#if PG_VERSION_NUM >= 170000
	return VirtualTransactionIdEquals(a->vxid, b->vxid);
#else
	return a->backend == b->backend && a->lxid == b->lxid;
#endif
}

#if PG_VERSION_NUM >= 180000
#define CPM_MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC_EXT(.name = name_, .version = version_)
#else
#define CPM_MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC
#endif

#endif							/* CPM_COMPAT_H */
