/* SPDX-License-Identifier: PostgreSQL */
/*
 * errors.c
 *		Errors of client sessions by SQLSTATE.
 *
 * Errors are counted also by processes that may take no lock, so an entry must be found without
 * one. PostgreSQL's own codes are put into an open hash table when the server starts, and stay.
 * Users can raise any number of other codes, so these share a few entries after the table: a code
 * claims a free entry by compare-and-exchange and keeps it until a reset. If all are taken,
 * further codes are counted together in the last entry.
 *
 * Any process adds to the counters. A reset does not clear them, but records baselines, which
 * readers subtract.
 */
#include "postgres.h"

#include "base/sqlstates.h"
#include "events/errors.h"
#include "port/atomics.h"
#include "utils/elog.h"

typedef struct ErrorCounter
{
	pg_atomic_uint32 sqlstate;	/* 0 if free, and for "other"; written when claimed */
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

/* Return the entry at which the search for one of PostgreSQL's own codes begins. */
static uint32
first_error_entry(uint32 sqlstate)
{
	/* the five characters of a code take six bits each: mix their low bits, which differ most */
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
		uint32		present = pg_atomic_read_u32(&counter->sqlstate);

		if (present == sqlstate || present == 0)
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

/* Return true if the entry is the code's, or was free and has been claimed for it. */
static bool
claim(ErrorCounter *counter, uint32 sqlstate)
{
	uint32		expected = 0;

	return pg_atomic_read_u32(&counter->sqlstate) == sqlstate ||
		pg_atomic_compare_exchange_u32(&counter->sqlstate, &expected, sqlstate) ||
		expected == sqlstate;
}

/* Return the entry in which a code is counted, claiming one if necessary. */
static ErrorCounter *
counter_of(uint32 sqlstate)
{
	ErrorCounter *own = own_entry(sqlstate);

	if (own != NULL && pg_atomic_read_u32(&own->sqlstate) == sqlstate)
		return own;
	for (int i = CPM_OWN_ERROR_CODES; i < CPM_ERROR_CODES; i++)
		if (claim(&errors->counter[i], sqlstate))
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
	/* read the baseline before the total, so that a concurrent reset cannot exceed the total */
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
	"errors", sizeof(CpmErrorCount), .save = save_errors, .load = load_error
};
