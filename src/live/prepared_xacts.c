/* SPDX-License-Identifier: PostgreSQL */
/*
 * prepared_xacts.c
 *		Lists prepared transactions, which hold locks without a session.
 *
 * PostgreSQL shows them only through the function behind the view pg_prepared_xacts, which needs
 * a connection to a database. Workers that take samples have none. They scan the dummy PGPROCs of
 * prepared transactions (the public array PreparedXactProcs), and read the time of preparation
 * from the state file in pg_twophase, which PostgreSQL writes at the next checkpoint. Until then
 * they use the time at which the sampler first found the transaction, at most one sample_interval
 * late. The sampler publishes these times in shared memory, so that all workers show the same age.
 *
 * The published times are those of the monotonic clock. If the system clock was set back, a time
 * that PostgreSQL recorded before the step is too late, so readers use the earlier of the two.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/set_back.h"
#include "base/shmem.h"
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
 * When the transaction of a dummy PGPROC was prepared. The sampler is the only writer: it clears
 * xid, writes prepared_us, then sets xid. A reader uses prepared_us only if xid is that of the
 * transaction both before and after it reads prepared_us.
 */
typedef struct PreparedTime
{
	pg_atomic_uint32 xid;		/* InvalidTransactionId if none was recorded */
	pg_atomic_uint64 prepared_us;	/* by the monotonic clock; may be negative */
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
		pg_atomic_init_u64(&prepared_times[i].prepared_us, 0);
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

/*
 * Return the time that the sampler recorded for the transaction, by the clock as it is set now;
 * DT_NOEND if it has recorded none.
 */
static TimestampTz
recorded_time(int index, TransactionId xid)
{
	PreparedTime *entry = &prepared_times[index];
	int64		prepared_us;

	if (pg_atomic_read_u32(&entry->xid) != xid)
		return DT_NOEND;
	pg_read_barrier();
	prepared_us = (int64) pg_atomic_read_u64(&entry->prepared_us);
	pg_read_barrier();
	return pg_atomic_read_u32(&entry->xid) == xid ? cpm_timestamp_of(prepared_us) : DT_NOEND;
}

/*
 * Record the time of a transaction. Clears xid first, so that no reader pairs an xid with the
 * time of another transaction. Sampler only.
 */
static void
record_time(int index, TransactionId xid, TimestampTz prepared_at)
{
	PreparedTime *entry = &prepared_times[index];
	int64		age_us = GetCurrentTimestamp() - prepared_at;

	pg_atomic_write_u32(&entry->xid, InvalidTransactionId);
	pg_write_barrier();
	pg_atomic_write_u64(&entry->prepared_us, (uint64) (cpm_monotonic_us() - age_us));
	pg_write_barrier();
	pg_atomic_write_u32(&entry->xid, xid);
}

/* Return when the transaction was prepared, and record it for other processes. Sampler only. */
static TimestampTz
find_and_record_time(int index, TransactionId xid)
{
	TimestampTz since = recorded_time(index, xid);
	TimestampTz file_time = file_read_for[index] != xid ? read_state_file(xid) : 0;

	if (file_time != 0)
		file_read_for[index] = xid;
	if (file_time == 0 && since != DT_NOEND)
		return since;
	if (file_time != 0)
		since = Min(since, file_time);
	since = Min(since, GetCurrentTimestamp());
	record_time(index, xid, since);
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
	TimestampTz file_time = since == DT_NOEND ? read_state_file(xid) : 0;

	if (file_time != 0)
		since = file_time;
	return Min(since, GetCurrentTimestamp());
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

/* Correct the time that PostgreSQL recorded for a transaction if the clock was set back since. */
static void
correct_time(CpmPrepared *prepared)
{
	if (!cpm_is_set_back() && prepared->prepared_at <= GetCurrentTimestamp())
		return;
	for (int i = 0; cpm_is_preloaded() && i < max_prepared_xacts; i++)
		prepared->prepared_at = Min(prepared->prepared_at, recorded_time(i, prepared->xid));
}

int
cpm_prepared_xacts_list(CpmPrepared **list)
{
	int			count;

	*list = NULL;
	if (max_prepared_xacts == 0)
		return 0;

	*list = palloc0(max_prepared_xacts * sizeof(CpmPrepared));
	count = OidIsValid(MyDatabaseId) ? list_in_session(*list, max_prepared_xacts) :
		list_in_worker(*list);
	for (int i = 0; OidIsValid(MyDatabaseId) && i < count; i++)
		correct_time(&(*list)[i]);
	return count;
}
