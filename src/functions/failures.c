/* SPDX-License-Identifier: PostgreSQL */
/*
 * failures.c
 *		connpool_errors, connpool_rejections, connpool_rejection_log: what failed,
 *		and who was turned away.
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

/* sqlstate, condition_name, errors, retryable, last_seen */
Datum
connpool_errors_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmRow		row = {0};

	cpm_require_view(fcinfo, "connpool_errors");
	cpm_require_preloaded("connpool_errors");
	result = cpm_rows_begin(fcinfo);
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
		cpm_row_timestamptz(&row, count.last_seen);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

/* reason, rejections, last_seen: every reason has its row */
Datum
connpool_rejections_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	CpmRow		row = {0};

	cpm_require_view(fcinfo, "connpool_rejections");
	cpm_require_preloaded("connpool_rejections");
	result = cpm_rows_begin(fcinfo);
	for (int i = 0; i < CPM_REJECTIONS; i++)
	{
		CpmRejectionCount count = cpm_rejections_count(i);

		cpm_row_text(&row, cpm_rejection_name(i));
		cpm_row_int8(&row, count.count);
		cpm_row_timestamptz(&row, count.last_seen);
		cpm_row_emit(&row, result);
	}
	return (Datum) 0;
}

static void
list_refused(const void *entry, void *arg)
{
	const CpmRejected *refused = entry;
	CpmRow		row = {0};

	cpm_row_timestamptz(&row, (TimestampTz) refused->last_at.value);
	cpm_row_text(&row, cpm_rejection_name(refused->reason));
	cpm_row_text(&row, refused->database);
	cpm_row_text(&row, refused->role);
	cpm_row_text(&row, refused->application_name);
	cpm_row_address(&row, &refused->client_addr);
	cpm_row_int8(&row, (int64) refused->attempts.value);
	cpm_row_timestamptz(&row, refused->first_at);
	cpm_row_emit(&row, arg);
}

/* at, reason, database, role, application_name, client_addr, attempts, first_at */
Datum
connpool_rejection_log_1_0(PG_FUNCTION_ARGS)
{
	cpm_require_view(fcinfo, "connpool_rejection_log");
	cpm_require_preloaded("connpool_rejection_log");
	cpm_rejections_log_scan(list_refused, cpm_rows_begin(fcinfo));
	return (Datum) 0;
}
