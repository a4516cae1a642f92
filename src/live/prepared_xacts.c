/* SPDX-License-Identifier: PostgreSQL */
/*
 * prepared_xacts.c
 *		Lists prepared transactions, which hold locks without a session.
 *
 * PostgreSQL shows them only through the function behind the view pg_prepared_xacts, which needs
 * a database. The extension's workers have none. They scan the dummy PGPROCs of prepared
 * transactions (the public array PreparedXactProcs), and read the time of preparation from the
 * state file in pg_twophase, which PostgreSQL writes at the next checkpoint. Until then they use
 * the time at which the sampler first found the transaction, at most one sample_interval late.
 * The sampler publishes these times in shared memory, so that all workers show the same age.
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
#include "live/backends.h"
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
 * When the transaction of a dummy PGPROC was prepared. The sampler is the only writer: it clears
 * xid, writes prepared_at, then sets xid. A reader uses prepared_at only if xid is that of the
 * transaction both before and after it reads prepared_at.
 */
typedef struct PreparedTime
{
	pg_atomic_uint32 xid;		/* InvalidTransactionId if none was recorded */
	pg_atomic_uint64 prepared_at;	/* a TimestampTz */
} PreparedTime;

static PreparedTime *prepared_times;	/* max_prepared_xacts entries in shared memory, and one
										 * unused so that the area is not empty */

/*
 * By dummy PGPROC, the transaction whose state file the sampler has read, so that it reads each
 * file only once. NULL in all other processes.
 */
static TransactionId *file_read_for;

Size
cpm_prepared_xacts_size(void)
{
	return mul_size((Size) max_prepared_xacts + 1, sizeof(PreparedTime));
}

void
cpm_prepared_xacts_attach(void *memory, bool is_new)
{
	prepared_times = memory;
	if (!is_new)
		return;
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		pg_atomic_init_u32(&prepared_times[i].xid, InvalidTransactionId);
		pg_atomic_init_u64(&prepared_times[i].prepared_at, 0);
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

/* Call pg_prepared_xact() row by row, as the executor would. Sessions only. */
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

/* Return true if the dummy PGPROC's transaction is still prepared. Caller holds ProcArrayLock. */
static bool
is_prepared_now(const PGPROC *proc)
{
	/* a finished transaction keeps its xid here, but is removed from the xids array */
	return TransactionIdIsValid(proc->xid) &&
		proc->pgxactoff >= 0 &&
		proc->pgxactoff < (int) ProcGlobal->allProcCount + max_prepared_xacts &&
		ProcGlobal->xids[proc->pgxactoff] == proc->xid;
}

/* Return the time of preparation in the state file; 0 if the file cannot be read. */
static TimestampTz
read_state_file(TransactionId xid)
{
	char		path[MAXPGPATH];
	xl_xact_prepare header;
	ssize_t		bytes_read;
	int			file;

	cpm_twophase_file_name(path, sizeof(path), xid);
	file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (file < 0)
		return 0;
	bytes_read = read(file, &header, sizeof(header));
	CloseTransientFile(file);
	return (bytes_read == sizeof(header) && header.xid == xid) ? header.prepared_at : 0;
}

/* Copy each prepared transaction to the list at the index of its dummy PGPROC. */
static void
copy_prepared_procs(CpmPrepared *list)
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
recorded_time(int index, TransactionId xid)
{
	TimestampTz since;

	if (pg_atomic_read_u32(&prepared_times[index].xid) != xid)
		return 0;
	pg_read_barrier();
	since = (TimestampTz) pg_atomic_read_u64(&prepared_times[index].prepared_at);
	pg_read_barrier();
	return pg_atomic_read_u32(&prepared_times[index].xid) == xid ? since : 0;
}

/*
 * Record the time of a transaction. Clears xid first, so that no reader pairs an xid with the
 * time of another transaction. Sampler only.
 */
static void
record_time(int index, TransactionId xid, TimestampTz since)
{
	pg_atomic_write_u32(&prepared_times[index].xid, InvalidTransactionId);
	pg_write_barrier();
	pg_atomic_write_u64(&prepared_times[index].prepared_at, (uint64) since);
	pg_write_barrier();
	pg_atomic_write_u32(&prepared_times[index].xid, xid);
}

/* Return when the transaction was prepared, and record it for other workers. Sampler only. */
static TimestampTz
find_and_record_time(int index, TransactionId xid)
{
	TimestampTz since = recorded_time(index, xid);
	TimestampTz file_time = file_read_for[index] != xid ? read_state_file(xid) : 0;

	if (file_time != 0)
	{
		file_read_for[index] = xid;
		since = file_time;
		record_time(index, xid, since);
	}
	else if (since == 0)
	{
		since = GetCurrentTimestamp();
		record_time(index, xid, since);
	}
	return since;
}

/*
 * Return when the transaction was prepared, in a worker other than the sampler. If the sampler
 * has not recorded it yet and it has no state file, return the current time.
 */
static TimestampTz
find_time(int index, TransactionId xid)
{
	TimestampTz since = recorded_time(index, xid);

	if (since == 0)
		since = read_state_file(xid);
	return since != 0 ? since : GetCurrentTimestamp();
}

static int
list_in_worker(CpmPrepared *list)
{
	int			count = 0;

	copy_prepared_procs(list);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		if (!TransactionIdIsValid(list[i].xid))
			continue;
		list[i].prepared_at = file_read_for != NULL ? find_and_record_time(i, list[i].xid) :
			find_time(i, list[i].xid);
		list[count++] = list[i];
	}
	return count;
}

void
cpm_prepared_xacts_claim_recorder(void)
{
	if (max_prepared_xacts > 0)
		file_read_for = MemoryContextAllocZero(TopMemoryContext,
											   max_prepared_xacts * sizeof(TransactionId));
}

int
cpm_prepared_xacts_list(CpmPrepared **list)
{
	TimestampTz now;
	int			count;

	*list = NULL;
	if (max_prepared_xacts == 0)
		return 0;

	*list = palloc0(max_prepared_xacts * sizeof(CpmPrepared));
	count = OidIsValid(MyDatabaseId) ? list_in_session(*list, max_prepared_xacts) :
		list_in_worker(*list);
	now = GetCurrentTimestamp();
	for (int i = 0; i < count; i++)
		(*list)[i].prepared_at = cpm_past_timestamp((*list)[i].prepared_at, now);
	return count;
}
