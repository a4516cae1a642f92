/*
 * prepared.c
 *		Prepared transactions: they hold locks and slots of nobody.
 *
 * PostgreSQL shows them in one way only, the function behind the view
 * pg_prepared_xacts, which needs catalogs. Our workers have none. They find
 * the dummy PGPROCs of prepared transactions (the public array
 * PreparedXactProcs) and learn the age from the state file in pg_twophase,
 * which exists from the next checkpoint on and so after every restart. Until
 * there is one, the age counts from when this worker first saw the transaction:
 * one sample late, or more if the worker itself has been restarted meanwhile.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "base/compat.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "store/prepared.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What this worker knows of the transaction behind each dummy PGPROC. */
typedef struct KnownPrepared
{
	TransactionId xid;
	TimestampTz prepared_at;
	bool		is_provisional; /* since it was first seen: no file yet */
} KnownPrepared;

static KnownPrepared *known;	/* max_prepared_xacts of them */

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

static TimestampTz
prepared_since(int dummy, TransactionId xid)
{
	KnownPrepared *mine = &known[dummy];
	TimestampTz by_file;

	if (mine->xid != xid)
	{
		mine->xid = xid;
		mine->prepared_at = GetCurrentTimestamp();
		mine->is_provisional = true;
	}
	if (mine->is_provisional && (by_file = prepared_at_by_file(xid)) != 0)
	{
		mine->prepared_at = by_file;
		mine->is_provisional = false;
	}
	return mine->prepared_at;
}

static int
list_in_worker(CpmPrepared *list)
{
	int			count = 0;

	if (known == NULL)
		known = MemoryContextAllocZero(TopMemoryContext,
									   max_prepared_xacts * sizeof(KnownPrepared));

	copy_dummies(list);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		if (!TransactionIdIsValid(list[i].xid))
			continue;
		list[i].prepared_at = prepared_since(i, list[i].xid);
		list[count++] = list[i];
	}
	return count;
}

int
cpm_prepared_list(CpmPrepared **list)
{
	*list = NULL;
	if (max_prepared_xacts == 0)
		return 0;

	*list = palloc0(max_prepared_xacts * sizeof(CpmPrepared));
	if (OidIsValid(MyDatabaseId))
		return list_in_session(*list, max_prepared_xacts);
	return list_in_worker(*list);
}
