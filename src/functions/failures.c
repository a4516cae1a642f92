/* SPDX-License-Identifier: PostgreSQL */
/*
 * failures.c
 *		connpool_errors: errors by SQLSTATE. connpool_rejections and connpool_rejection_log:
 *		rejected connections, by reason and one by one.
 */
#include "postgres.h"

#include "base/rejection.h"
#include "base/sqlstates.h"
#include "events/errors.h"
#include "events/rejections.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"
#include "utils/elog.h"

PG_FUNCTION_INFO_V1(connpool_errors_1_0);
PG_FUNCTION_INFO_V1(connpool_rejections_1_0);
PG_FUNCTION_INFO_V1(connpool_rejection_log_1_0);

/* Columns: sqlstate, condition_name, errors, retryable, last_seen. */
Datum
connpool_errors_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_errors");
	CpmRow		row = {0};

	/* the entry after the last code counts the errors that found no entry of their own */
	for (int i = 0; i <= CPM_ERROR_CODES; i++)
	{
		CpmErrorCount count = cpm_errors_get(i);
		const char *sqlstate = count.sqlstate ? unpack_sql_state(count.sqlstate) : "other";

		if (count.errors == 0)
			continue;
		cpm_row_text(&row, sqlstate);
		cpm_row_text(&row, cpm_condition_name(sqlstate));
		cpm_row_int8(&row, count.errors);
		cpm_row_bool(&row, cpm_is_retryable(sqlstate));
		cpm_row_past_time(&row, count.last_seen);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

/* Columns: reason, rejections, last_seen. Reasons that have not occurred have a row too. */
Datum
connpool_rejections_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = cpm_view_begin(fcinfo, "connpool_rejections");
	CpmRow		row = {0};

	for (int i = 0; i < CPM_REJECTIONS; i++)
	{
		CpmRejectionCount count = cpm_rejections_count(i);

		cpm_row_text(&row, cpm_rejection_name(i));
		cpm_row_int8(&row, count.count);
		cpm_row_past_time(&row, count.last_seen);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

static void
emit_rejection(const void *entry, void *arg)
{
	const CpmRejected *rejected = entry;
	CpmRow		row = {0};

	cpm_row_past_time(&row, (TimestampTz) rejected->last_at.value);
	cpm_row_text(&row, cpm_rejection_name(rejected->reason));
	cpm_row_text(&row, rejected->database);
	cpm_row_text(&row, rejected->role);
	cpm_row_text(&row, rejected->application_name);
	/* the role is only what the client claimed, so having its privileges must not reveal this */
	if (cpm_may_see_all())
		cpm_row_address(&row, &rejected->client_addr);
	else
		cpm_row_null(&row);
	cpm_row_int8(&row, (int64) rejected->attempts.value);
	cpm_row_past_time(&row, rejected->first_at);
	cpm_row_emit(&row, arg);
}

/* Columns: at, reason, database, role, application_name, client_addr, attempts, first_at. */
Datum
connpool_rejection_log_1_0(PG_FUNCTION_ARGS)
{
	cpm_rejections_log_scan(emit_rejection, cpm_view_begin(fcinfo, "connpool_rejection_log"));
	return (Datum) 0;
}
