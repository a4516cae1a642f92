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
 * The published times are those of the monotonic clock, and the statistics file has the ages. If
 * the system clock was set back, a time that PostgreSQL recorded before the step is too late, also
 * after a restart. So sessions use the published time if it is over a second earlier.
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

/*
 * An entry for each dummy PGPROC. As many entries follow for the times that the postmaster loads,
 * because transactions have other dummy PGPROCs after a restart. The sampler's first scan copies
 * each loaded time to the entry of the transaction's dummy PGPROC and discards all loaded entries.
 */
typedef struct PreparedTimes
{
	bool		were_loaded;	/* times were loaded; constant after startup */
	pg_atomic_uint32 has_loaded;	/* 1 if there are loaded entries; the sampler clears it */
	PreparedTime entry[FLEXIBLE_ARRAY_MEMBER];
} PreparedTimes;

static PreparedTimes *prepared_times;

typedef struct SavedPrepared
{
	uint64		xid;
	int64		age_us;
} SavedPrepared;

/*
 * By dummy PGPROC, the transaction whose state file the sampler has read, so that it reads each
 * file only once. NULL in all other processes.
 */
static TransactionId *file_read_for;

Size
cpm_prepared_xacts_size(void)
{
	return add_size(offsetof(PreparedTimes, entry),
					mul_size((Size) max_prepared_xacts * 2, sizeof(PreparedTime)));
}

void
cpm_prepared_xacts_attach(void *memory, bool is_new)
{
	prepared_times = memory;
	if (!is_new)
		return;
	prepared_times->were_loaded = false;
	pg_atomic_init_u32(&prepared_times->has_loaded, 0);
	for (int i = 0; i < max_prepared_xacts * 2; i++)
	{
		pg_atomic_init_u32(&prepared_times->entry[i].xid, InvalidTransactionId);
		pg_atomic_init_u64(&prepared_times->entry[i].prepared_us, 0);
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
 * Copy the transaction and the time of an entry; returns false if it has none, or if the sampler
 * changes it meanwhile.
 */
static bool
read_prepared_time(int index, TransactionId *xid, int64 *prepared_us)
{
	PreparedTime *entry = &prepared_times->entry[index];

	*xid = pg_atomic_read_u32(&entry->xid);
	pg_read_barrier();
	*prepared_us = (int64) pg_atomic_read_u64(&entry->prepared_us);
	pg_read_barrier();
	return TransactionIdIsValid(*xid) && pg_atomic_read_u32(&entry->xid) == *xid;
}

/* Write an entry; readers ignore it until it is complete. The sampler, or the postmaster. */
static void
write_prepared_time(int index, TransactionId xid, int64 prepared_us)
{
	PreparedTime *entry = &prepared_times->entry[index];

	pg_atomic_write_u32(&entry->xid, InvalidTransactionId);
	pg_write_barrier();
	pg_atomic_write_u64(&entry->prepared_us, (uint64) prepared_us);
	pg_write_barrier();
	pg_atomic_write_u32(&entry->xid, xid);
}

/*
 * Return the recorded time of the transaction, converted to the system clock as it is set now.
 * Searches "count" entries, beginning with the entry "first"; returns DT_NOEND if none of them is
 * that of the transaction. Reads backwards, so that it cannot miss a loaded time that the sampler
 * moves meanwhile.
 */
static TimestampTz
recorded_time(int first, int count, TransactionId xid)
{
	for (int i = first + count - 1; i >= first; i--)
	{
		TransactionId found;
		int64		prepared_us;

		if (read_prepared_time(i, &found, &prepared_us) && found == xid)
			return cpm_timestamp_of(prepared_us);
	}
	return DT_NOEND;
}

/* Return the loaded time of the transaction; DT_NOEND if it has none or it was discarded. */
static TimestampTz
loaded_time(TransactionId xid)
{
	if (pg_atomic_read_u32(&prepared_times->has_loaded) == 0)
		return DT_NOEND;
	return recorded_time(max_prepared_xacts, max_prepared_xacts, xid);
}

/* Return when the transaction was prepared, and record it for other processes. Sampler only. */
static TimestampTz
find_and_record_time(int index, TransactionId xid)
{
	TimestampTz recorded = recorded_time(index, 1, xid);
	TimestampTz file_time = file_read_for[index] != xid ? read_state_file(xid) : 0;
	TimestampTz since = recorded;

	if (file_time != 0)
		file_read_for[index] = xid;
	else if (recorded != DT_NOEND)
		return recorded;
	if (recorded == DT_NOEND)
		since = loaded_time(xid);
	if (file_time != 0)
		since = Min(since, file_time);
	since = Min(since, GetCurrentTimestamp());
	write_prepared_time(index, xid, cpm_monotonic_of(since));
	return since;
}

/*
 * Return when the transaction of the dummy PGPROC at that index was prepared, in a worker other
 * than the sampler. If no time of it is recorded yet and it has no state file, return the current
 * time.
 */
static TimestampTz
find_time(int index, TransactionId xid)
{
	TimestampTz since = loaded_time(xid);

	pg_read_barrier();			/* a loaded entry is discarded only after its time was copied */
	if (since == DT_NOEND)
		since = recorded_time(index, 1, xid);
	if (since == DT_NOEND)
	{
		TimestampTz file_time = read_state_file(xid);

		if (file_time != 0)
			since = file_time;
	}
	return Min(since, GetCurrentTimestamp());
}

static void
discard_entry(int index)
{
	pg_atomic_write_u32(&prepared_times->entry[index].xid, InvalidTransactionId);
}

/*
 * Discard the entries of transactions that have ended, and all loaded entries, because the sampler
 * has copied their times to the entries of the dummy PGPROCs. "is_prepared" is by dummy PGPROC.
 * Sampler only.
 */
static void
discard_entries(const bool *is_prepared)
{
	for (int i = 0; i < max_prepared_xacts; i++)
		if (!is_prepared[i])
			discard_entry(i);
	if (pg_atomic_read_u32(&prepared_times->has_loaded) == 0)
		return;
	pg_write_barrier();			/* readers must see a copied time before its old entry changes */
	pg_atomic_write_u32(&prepared_times->has_loaded, 0);
	for (int i = max_prepared_xacts; i < max_prepared_xacts * 2; i++)
		discard_entry(i);
}

static int
list_in_worker(CpmPrepared *list)
{
	bool	   *is_prepared = palloc(max_prepared_xacts * sizeof(bool));
	int			count = 0;

	copy_prepared_procs(list);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		is_prepared[i] = TransactionIdIsValid(list[i].xid);
		if (!is_prepared[i])
			continue;
		list[i].prepared_at = file_read_for != NULL ? find_and_record_time(i, list[i].xid) :
			find_time(i, list[i].xid);
		list[count++] = list[i];
	}
	if (file_read_for != NULL)
		discard_entries(is_prepared);
	pfree(is_prepared);
	return count;
}

void
cpm_prepared_xacts_claim_recorder(void)
{
	if (max_prepared_xacts > 0)
		file_read_for = MemoryContextAllocZero(TopMemoryContext,
											   max_prepared_xacts * sizeof(TransactionId));
}

/*
 * Return true if PostgreSQL may show a wrong time for a transaction, because the clock was set
 * back in this run of the server, or in an earlier one.
 */
static bool
may_need_correction(void)
{
	return cpm_is_preloaded() && (prepared_times->were_loaded || cpm_is_set_back());
}

/*
 * Correct the time that PostgreSQL recorded for a transaction if the clock was set back since. A
 * published time that is earlier by CPM_MIN_STEP_US or less is no sign of that.
 */
static void
correct_time(CpmPrepared *prepared)
{
	TimestampTz recorded = recorded_time(0, max_prepared_xacts * 2, prepared->xid);

	if (recorded < prepared->prepared_at - CPM_MIN_STEP_US)
		prepared->prepared_at = recorded;
}

int
cpm_prepared_xacts_list(CpmPrepared **list)
{
	int			count;

	*list = NULL;
	if (max_prepared_xacts == 0)
		return 0;

	*list = palloc0(max_prepared_xacts * sizeof(CpmPrepared));
	if (!OidIsValid(MyDatabaseId))
		return list_in_worker(*list);
	count = list_in_session(*list, max_prepared_xacts);
	if (may_need_correction())
		for (int i = 0; i < count; i++)
			correct_time(&(*list)[i]);
	return count;
}

static void
save_prepared_times(CpmSink *sink)
{
	for (int i = 0; i < max_prepared_xacts * 2; i++)
	{
		TransactionId xid;
		int64		prepared_us;

		if (read_prepared_time(i, &xid, &prepared_us))
		{
			SavedPrepared saved = {.xid = xid, .age_us = sink->now_us - prepared_us};

			cpm_put(sink, &saved);
		}
	}
}

/* Load a time into a free entry; into none if max_prepared_transactions was lowered. */
static void
load_prepared_time(const void *record)
{
	const SavedPrepared *saved = record;
	TransactionId xid;
	int64		prepared_us;

	for (int i = max_prepared_xacts; i < max_prepared_xacts * 2; i++)
		if (!read_prepared_time(i, &xid, &prepared_us))
		{
			write_prepared_time(i, (TransactionId) saved->xid, cpm_loaded_us(saved->age_us));
			prepared_times->were_loaded = true;
			pg_atomic_write_u32(&prepared_times->has_loaded, 1);
			return;
		}
}

const CpmFilePart cpm_prepared_times_part = {
	"prepared transactions", sizeof(SavedPrepared),
	.save = save_prepared_times, .load = load_prepared_time
};
