/* SPDX-License-Identifier: PostgreSQL */
/*
 * errors.c
 *		Errors of client sessions by SQLSTATE.
 *
 * Some processes that count errors may take no lock, so they must find an entry without one.
 * PostgreSQL's own codes are in an open-addressing hash table, which is filled when the server
 * starts and then never changes. Users can raise any number of other codes, so these share a few
 * entries after the table: the first error with a code claims a free entry for the code by
 * compare-and-exchange, and the entry is free again after a reset. If all entries are taken, the
 * last one counts all further codes.
 *
 * A reset does not clear the counters, because other processes add to them. It records baselines,
 * which readers subtract.
 */
#include "postgres.h"

#include "base/sqlstates.h"
#include "events/errors.h"
#include "port/atomics.h"
#include "utils/elog.h"

typedef struct ErrorCounter
{
	pg_atomic_uint32 sqlstate;	/* set by the process that claims the entry; 0 if free, and for
								 * "other" */
	pg_atomic_uint64 total;		/* any process adds */
	pg_atomic_uint64 last_seen; /* a TimestampTz; the last writer wins */
	pg_atomic_uint64 baseline;	/* total at the last reset, which writes it */
} ErrorCounter;

typedef struct Errors
{
	ErrorCounter counter[CPM_ERROR_CODES + 1];
} Errors;

static Errors *errors;

Size
cpm_errors_size(void)
{
	return sizeof(Errors);
}

/* Return the index at which the search for one of PostgreSQL's own codes begins. */
static uint32
first_error_entry(uint32 sqlstate)
{
	/* each of the five characters has six bits: mix their low bits, which differ most */
	return (sqlstate ^ (sqlstate >> 11) ^ (sqlstate >> 22)) % CPM_OWN_ERROR_CODES;
}

/* Return the entry of one of PostgreSQL's codes, or a free one; NULL if there is neither. */
static ErrorCounter *
own_entry(uint32 sqlstate)
{
	uint32		start = first_error_entry(sqlstate);

	for (uint32 i = 0; i < CPM_OWN_ERROR_CODES; i++)
	{
		ErrorCounter *counter = &errors->counter[(start + i) % CPM_OWN_ERROR_CODES];
		uint32		found = pg_atomic_read_u32(&counter->sqlstate);

		if (found == sqlstate || found == 0)
			return counter;
	}
	return NULL;
}

void
cpm_errors_attach(void *memory, bool is_new)
{
	errors = memory;
	if (!is_new)
		return;
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
	{
		pg_atomic_init_u32(&errors->counter[i].sqlstate, 0);
		pg_atomic_init_u64(&errors->counter[i].total, 0);
		pg_atomic_init_u64(&errors->counter[i].last_seen, 0);
		pg_atomic_init_u64(&errors->counter[i].baseline, 0);
	}
	for (int i = 0; i < cpm_condition_count(); i++)
	{
		const char *code = cpm_condition_sqlstate(i);
		uint32		sqlstate = MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
		ErrorCounter *counter = own_entry(sqlstate);

		if (counter != NULL)
			pg_atomic_write_u32(&counter->sqlstate, sqlstate);
	}
}

/* Claim the entry for the code; returns false if another code has it. */
static bool
claim_entry(ErrorCounter *counter, uint32 sqlstate)
{
	uint32		expected = 0;

	return pg_atomic_read_u32(&counter->sqlstate) == sqlstate ||
		pg_atomic_compare_exchange_u32(&counter->sqlstate, &expected, sqlstate) ||
		expected == sqlstate;
}

/* Return the entry that counts the errors with a code, claiming one if necessary. */
static ErrorCounter *
counter_of(uint32 sqlstate)
{
	ErrorCounter *own = own_entry(sqlstate);

	if (own != NULL && pg_atomic_read_u32(&own->sqlstate) == sqlstate)
		return own;
	for (int i = CPM_OWN_ERROR_CODES; i < CPM_ERROR_CODES; i++)
		if (claim_entry(&errors->counter[i], sqlstate))
			return &errors->counter[i];
	return &errors->counter[CPM_ERROR_CODES];
}

void
cpm_errors_add(int sqlstate, TimestampTz at)
{
	ErrorCounter *counter = counter_of((uint32) sqlstate);

	pg_atomic_write_u64(&counter->last_seen, (uint64) at);
	pg_atomic_fetch_add_u64(&counter->total, 1);
}

CpmErrorCount
cpm_errors_get(int index)
{
	ErrorCounter *counter = &errors->counter[index];
	CpmErrorCount count;
	uint64		baseline;

	count.sqlstate = pg_atomic_read_u32(&counter->sqlstate);
	/* read the baseline first, so that a reset meanwhile cannot make the difference negative */
	baseline = pg_atomic_read_u64(&counter->baseline);
	pg_read_barrier();
	count.errors = pg_atomic_read_u64(&counter->total) - baseline;
	count.last_seen = (TimestampTz) pg_atomic_read_u64(&counter->last_seen);
	return count;
}

void
cpm_errors_reset(void)
{
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
	{
		ErrorCounter *counter = &errors->counter[i];

		pg_atomic_write_u64(&counter->baseline, pg_atomic_read_u64(&counter->total));
		if (i >= CPM_OWN_ERROR_CODES)
			pg_atomic_write_u32(&counter->sqlstate, 0);
	}
}

static void
save_errors(CpmSink *sink)
{
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
	{
		CpmErrorCount count = cpm_errors_get(i);

		if (count.errors > 0)
			cpm_put(sink, &count);
	}
}

static void
load_error(const void *record)
{
	const CpmErrorCount *count = record;
	ErrorCounter *counter = count->sqlstate != 0 ? counter_of((uint32) count->sqlstate) :
		&errors->counter[CPM_ERROR_CODES];

	pg_atomic_fetch_add_u64(&counter->total, count->errors);
	pg_atomic_write_u64(&counter->last_seen, (uint64) count->last_seen);
}

const CpmFilePart cpm_errors_part = {
	"errors", sizeof(CpmErrorCount), .save = save_errors, .load = load_error,
	.time = {CPM_TIME(CpmErrorCount, last_seen)}
};
