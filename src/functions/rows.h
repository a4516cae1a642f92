/* SPDX-License-Identifier: PostgreSQL */
/*
 * rows.h
 *		Builds the rows of set-returning functions, column by column.
 *
 * The SQL script owns the names and types; a function adds its values in that
 * order, and emitting a row checks that none is missing.
 */
#ifndef CPM_ROWS_H
#define CPM_ROWS_H

#include "base/session.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "libpq/pqcomm.h"
#include "nodes/execnodes.h"

#define CPM_MAX_COLUMNS 40

typedef struct CpmRow
{
	int			count;
	Datum		values[CPM_MAX_COLUMNS];
	bool		nulls[CPM_MAX_COLUMNS];
} CpmRow;

/* Begin a materialised result; rows go into what this returns. */
extern ReturnSetInfo *cpm_rows_begin(FunctionCallInfo fcinfo);

/* The same for a function that returns SETOF text: rows of one column. */
extern ReturnSetInfo *cpm_lines_begin(FunctionCallInfo fcinfo);


/* Put the row into the result and make it empty again. */
extern void cpm_row_emit(CpmRow *row, ReturnSetInfo *result);

extern void cpm_row_null(CpmRow *row);
extern void cpm_row_bool(CpmRow *row, bool value);
extern void cpm_row_int4(CpmRow *row, int32 value);
extern void cpm_row_int8(CpmRow *row, int64 value);

/* NULL for what is no number */
extern void cpm_row_float8(CpmRow *row, double value);

/* the same, but infinity is shown */
extern void cpm_row_bound(CpmRow *row, double value);

/* Add text; NULL for a null pointer. Bytes that the client's encoding cannot represent become "?". */
extern void cpm_row_text(CpmRow *row, const char *value);

/* The same for a query in the encoding of that database. */
extern void cpm_row_query(CpmRow *row, const char *query, Oid database);

/* NULL for 0 */
extern void cpm_row_timestamptz(CpmRow *row, TimestampTz value);

/* now - since; NULL when since is 0, nothing below 0 */
extern void cpm_row_age(CpmRow *row, TimestampTz now, TimestampTz since);
extern void cpm_row_interval(CpmRow *row, int64 milliseconds);

/* by pg_stat_activity's names; NULL where that has NULL */
extern void cpm_row_state(CpmRow *row, CpmState state);
extern void cpm_row_int4_array(CpmRow *row, const int *values, int count);

extern void cpm_row_text_array(CpmRow *row, const char *const *values, int count);

/* Names of CpmViolation bits. */
extern void cpm_row_violations(CpmRow *row, unsigned int violations);

/* inet; NULL for a Unix socket and for what is not known */
extern void cpm_row_address(CpmRow *row, const SockAddr *address);

/* NULL for an object that is gone */
extern void cpm_row_database(CpmRow *row, Oid database);
extern void cpm_row_role(CpmRow *row, Oid role);

#endif							/* CPM_ROWS_H */
