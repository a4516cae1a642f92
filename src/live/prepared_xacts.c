/* SPDX-License-Identifier: PostgreSQL */
/*
 * prepared_xacts.c
 *		Prepared transactions: they hold locks and slots of nobody.
 *
 * PostgreSQL shows them in one way only, the function behind the view
 * pg_prepared_xacts, which needs catalogs. Our workers have none. They find
 * the dummy PGPROCs of prepared transactions (the public array
 * PreparedXactProcs) and read the age from the state file in pg_twophase,
 * which exists from the next checkpoint on and so after every restart. Until
 * there is one, the age counts from when the sampler first saw the transaction, a
 * sample late at most. The sampler keeps these times in shared memory for the other
 * workers, so that all of them show the same age.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "base/compat.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "live/prepared_xacts.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * When the transaction behind each dummy PGPROC was prepared. Only the sampler writes; it clears
 * xid first and sets it last.
 */
typedef struct KnownPrepared
{
	pg_atomic_uint32 xid;
	pg_atomic_uint64 prepared_at;	/* a TimestampTz */
} KnownPrepared;

static KnownPrepared *known;	/* max_prepared_xacts of them, in shared memory */
static TransactionId *settled;	/* the sampler's own: transactions whose time was read from the
								 * state file */

Size
cpm_prepared_xacts_size(void)
{
	return mul_size((Size) max_prepared_xacts + 1, sizeof(KnownPrepared));
}

void
cpm_prepared_xacts_attach(void *memory, bool is_new)
{
	known = memory;
	if (!is_new)
		return;
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		pg_atomic_init_u32(&known[i].xid, InvalidTransactionId);
		pg_atomic_init_u64(&known[i].prepared_at, 0);
	}
}

static void
fill_from_row(HeapTupleHeader row, CpmPrepared *prepared)
{
	bool		isnull;

	/* columns as in pg_proc: transaction, gid, prepared, ownerid, dbid */
	prepared->xid = DatumGetTransactionId(GetAttributeByNum(row, 1, &isnull));
	strlcpy(prepared->gid, TextDatumGetCString(GetAttributeByNum(row, 2, &isnull)),
			sizeof(prepared->gid));
	prepared->prepared_at = DatumGetTimestampTz(GetAttributeByNum(row, 3, &isnull));
	prepared->owner = DatumGetObjectId(GetAttributeByNum(row, 4, &isnull));
	prepared->database = DatumGetObjectId(GetAttributeByNum(row, 5, &isnull));
}

/* Ask pg_prepared_xact(), row by row, as the executor would. */
static int
list_in_session(CpmPrepared *list, int max)
{
	EState	   *estate = CreateExecutorState();
	ReturnSetInfo result = {.type = T_ReturnSetInfo};

	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	function;
	int			count = 0;

	fmgr_info(F_PG_PREPARED_XACT, &function);
	result.econtext = CreateExprContext(estate);
	result.allowedModes = SFRM_ValuePerCall;
	InitFunctionCallInfoData(*fcinfo, &function, 0, InvalidOid, NULL, (Node *) &result);

	for (;;)
	{
		Datum		row;

		fcinfo->isnull = false;
		result.isDone = ExprSingleResult;
		row = FunctionCallInvoke(fcinfo);
		if (result.isDone != ExprMultipleResult || count >= max)
			break;
		fill_from_row(cpm_row_header(row), &list[count++]);
	}
	FreeExecutorState(estate);
	return count;
}

/* Is this dummy PGPROC's transaction still prepared? Caller has ProcArrayLock. */
static bool
is_prepared_now(const PGPROC *proc)
{
	/* a finished one keeps its xid, but that has left the array of running ones */
	return TransactionIdIsValid(proc->xid) &&
		proc->pgxactoff >= 0 &&
		proc->pgxactoff < (int) ProcGlobal->allProcCount + max_prepared_xacts &&
		ProcGlobal->xids[proc->pgxactoff] == proc->xid;
}

/* When was it prepared, by its state file? 0 when there is none to read. */
static TimestampTz
prepared_at_by_file(TransactionId xid)
{
	char		path[MAXPGPATH];
	xl_xact_prepare header;
	ssize_t		got;
	int			file;

	cpm_twophase_file_name(path, sizeof(path), xid);
	file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (file < 0)
		return 0;
	got = read(file, &header, sizeof(header));
	CloseTransientFile(file);
	return (got == sizeof(header) && header.xid == xid) ? header.prepared_at : 0;
}

/* Copy every prepared transaction to where its dummy PGPROC stands; xid 0 elsewhere. */
static void
copy_dummies(CpmPrepared *list)
{
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		const PGPROC *proc = &PreparedXactProcs[i];

		if (!is_prepared_now(proc))
			continue;
		list[i].xid = proc->xid;
		list[i].owner = proc->roleId;
		list[i].database = proc->databaseId;
	}
	LWLockRelease(ProcArrayLock);
}

/* Return the time that the sampler recorded for the transaction; 0 if it has recorded none. */
static TimestampTz
known_since(int dummy, TransactionId xid)
{
	TimestampTz since;

	if (pg_atomic_read_u32(&known[dummy].xid) != xid)
		return 0;
	pg_read_barrier();
	since = (TimestampTz) pg_atomic_read_u64(&known[dummy].prepared_at);
	pg_read_barrier();
	return pg_atomic_read_u32(&known[dummy].xid) == xid ? since : 0;
}

/*
 * Record the time of a transaction. xid is invalid meanwhile, so that no reader pairs it with
 * another's time. Sampler only.
 */
static void
record(int dummy, TransactionId xid, TimestampTz since)
{
	pg_atomic_write_u32(&known[dummy].xid, InvalidTransactionId);
	pg_write_barrier();
	pg_atomic_write_u64(&known[dummy].prepared_at, (uint64) since);
	pg_write_barrier();
	pg_atomic_write_u32(&known[dummy].xid, xid);
}

/* Return when the transaction was prepared and record it for other workers. Sampler only. */
static TimestampTz
find_and_keep(int dummy, TransactionId xid)
{
	TimestampTz since = known_since(dummy, xid);
	TimestampTz by_file = settled[dummy] != xid ? prepared_at_by_file(xid) : 0;

	if (by_file != 0)
	{
		settled[dummy] = xid;
		since = by_file;
		record(dummy, xid, since);
	}
	else if (since == 0)
	{
		since = GetCurrentTimestamp();
		record(dummy, xid, since);
	}
	return since;
}

/* The same in another worker; the sampler may not have seen the transaction yet. */
static TimestampTz
look_up(int dummy, TransactionId xid)
{
	TimestampTz since = known_since(dummy, xid);

	if (since == 0)
		since = prepared_at_by_file(xid);
	return since != 0 ? since : GetCurrentTimestamp();
}

static int
list_in_worker(CpmPrepared *list)
{
	int			count = 0;

	copy_dummies(list);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		if (!TransactionIdIsValid(list[i].xid))
			continue;
		list[i].prepared_at = settled != NULL ? find_and_keep(i, list[i].xid) : look_up(i, list[i].xid);
		list[count++] = list[i];
	}
	return count;
}

void
cpm_prepared_xacts_begin_writing(void)
{
	if (max_prepared_xacts > 0)
		settled = MemoryContextAllocZero(TopMemoryContext,
										 max_prepared_xacts * sizeof(TransactionId));
}

int
cpm_prepared_xacts_list(CpmPrepared **list)
{
	*list = NULL;
	if (max_prepared_xacts == 0)
		return 0;

	*list = palloc0(max_prepared_xacts * sizeof(CpmPrepared));
	if (OidIsValid(MyDatabaseId))
		return list_in_session(*list, max_prepared_xacts);
	return list_in_worker(*list);
}
