/* SPDX-License-Identifier: PostgreSQL */
/*
 * rows.h
 *		Builds the rows of set-returning functions, column by column.
 *
 * The SQL script defines the names and types of columns. A function must add values of these types
 * in the same order. cpm_row_emit() checks their number, but not their types.
 */
#ifndef CPM_ROWS_H
#define CPM_ROWS_H

#include "base/session.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "libpq/pqcomm.h"
#include "nodes/execnodes.h"
#include "storage/lock.h"

#define CPM_MAX_COLUMNS 40

/* A row under construction; callers initialize it with zeros. */
typedef struct CpmRow
{
	int			count;
	Datum		values[CPM_MAX_COLUMNS];
	bool		nulls[CPM_MAX_COLUMNS];
} CpmRow;

/* Begin a materialized result, to which cpm_row_emit() appends rows. */
extern ReturnSetInfo *cpm_rows_begin(FunctionCallInfo fcinfo);

/*
 * Begin the result of the function behind a view. Fails like cpm_require_view() and
 * cpm_require_preloaded().
 */
extern ReturnSetInfo *cpm_view_begin(FunctionCallInfo fcinfo, const char *view);

/* Begin a materialized result of a function that returns SETOF text, which has no row type. */
extern ReturnSetInfo *cpm_lines_begin(FunctionCallInfo fcinfo);

/* Append the row to the result and clear it. Checks for interrupts. */
extern void cpm_row_emit(CpmRow *row, ReturnSetInfo *result);

extern void cpm_row_null(CpmRow *row);
extern void cpm_row_bool(CpmRow *row, bool value);
extern void cpm_row_int4(CpmRow *row, int32 value);
extern void cpm_row_int8(CpmRow *row, int64 value);

/* Add a number; NULL unless it is known. */
extern void cpm_row_int4_if(CpmRow *row, bool is_known, int32 value);
extern void cpm_row_int8_if(CpmRow *row, bool is_known, int64 value);

extern void cpm_row_oid(CpmRow *row, Oid value);

/* Add a number; NULL for NaN and infinities. */
extern void cpm_row_float8(CpmRow *row, double value);

/* Add a number, which may be infinite; NULL for NaN. */
extern void cpm_row_bound(CpmRow *row, double value);

/*
 * Add text; NULL for a null pointer. Invalid bytes, and characters that the client's encoding does
 * not have, become "?".
 */
extern void cpm_row_text(CpmRow *row, const char *value);

/* Add text like cpm_row_text(); NULL for an empty string. value must not be a null pointer. */
extern void cpm_row_nonempty_text(CpmRow *row, const char *value);

/* Add a query that is in the encoding of the given database; NULL for a null pointer. */
extern void cpm_row_query(CpmRow *row, const char *query, Oid database);

/* Add a time; NULL for 0. */
extern void cpm_row_timestamptz(CpmRow *row, TimestampTz value);

/* Add the time of a past event, corrected by cpm_past_time(); NULL for 0. */
extern void cpm_row_past_time(CpmRow *row, TimestampTz value);

/* Add now - since, at least 0; NULL if since is 0. */
extern void cpm_row_age(CpmRow *row, TimestampTz now, TimestampTz since);

/* Add a duration as an interval without days and months. */
extern void cpm_row_interval(CpmRow *row, int64 milliseconds);

/* Add the name that pg_stat_activity shows for the state, or NULL if it shows none. */
extern void cpm_row_state(CpmRow *row, CpmState state);

extern void cpm_row_int4_array(CpmRow *row, const int *values, int count);
extern void cpm_row_text_array(CpmRow *row, const char *const *values, int count);

/* Add an array of the names of the violations, which are bits 1 << CpmViolation. */
extern void cpm_row_violations(CpmRow *row, unsigned int violations);

/* Add an inet; NULL for a Unix socket and for an unknown address. */
extern void cpm_row_address(CpmRow *row, const SockAddr *address);

/*
 * Add the type of a lock, the name of a lock mode, and the relation that is locked or contains the
 * locked page or row. All are NULL if the lock is unknown, that is, if its method is 0. The
 * relation is also NULL if it belongs to another database, or if another kind of object is locked.
 */
extern void cpm_row_lock_type(CpmRow *row, const LOCKTAG *lock);
extern void cpm_row_lock_mode(CpmRow *row, const LOCKTAG *lock, LOCKMODE mode);
extern void cpm_row_locked_relation(CpmRow *row, const LOCKTAG *lock);

/* Add the name of a database or a role; NULL if the OID is invalid or the object was dropped. */
extern void cpm_row_database(CpmRow *row, Oid database);
extern void cpm_row_role(CpmRow *row, Oid role);

#endif							/* CPM_ROWS_H */
