/* SPDX-License-Identifier: PostgreSQL */
/*
 * log_messages.c
 *		Counts errors and rejected connections as the server logs them.
 *
 * Every rejection reaches emit_log_hook unless log_min_messages is PANIC, even in a child that the
 * postmaster starts only to report "sorry, too many clients already". Such a process has no
 * PGPROC, so the hook takes no lock, allocates nothing, reads no catalog and raises no error. It
 * only updates atomic counters and appends to a lock-free ring.
 *
 * A FATAL error rejects the connection if the session is not open yet (hooks/session.c). The
 * SQLSTATE determines the reason. If one SQLSTATE has several reasons, message_id decides, because
 * it is the untranslated format string, whereas the text depends on lc_messages.
 *
 * With EXEC_BACKEND (Windows), a process attaches to shared memory only after it has read the
 * startup packet and has a PGPROC. The hook cannot count the errors that it reports before that.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "base/shmem.h"
#include "counters/backend_counters.h"
#include "events/errors.h"
#include "events/rejections.h"
#include "hooks/log_messages.h"
#include "hooks/session.h"
#include "hooks/statement.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

static emit_log_hook_type previous_emit_log_hook;
static bool is_counting;		/* the hook is running; it ignores messages that it causes */

static bool
message_starts_with(const ErrorData *edata, const char *prefix)
{
	return edata->message_id != NULL &&
		strncmp(edata->message_id, prefix, strlen(prefix)) == 0;
}

static CpmRejection
too_many_connections_reason(const ErrorData *edata)
{
	if (message_starts_with(edata, "sorry, too many clients already"))
		return CPM_REJECTED_TOO_MANY;
	if (message_starts_with(edata, "remaining connection slots are reserved"))
		return CPM_REJECTED_RESERVED;
	if (message_starts_with(edata, "too many connections for role"))
		return CPM_REJECTED_ROLE_LIMIT;
	if (message_starts_with(edata, "too many connections for database"))
		return CPM_REJECTED_DATABASE_LIMIT;
	return CPM_REJECTED_OTHER;	/* for example max_wal_senders */
}

static CpmRejection
rejection_reason(const ErrorData *edata)
{
	switch (edata->sqlerrcode)
	{
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return too_many_connections_reason(edata);
		case ERRCODE_CANNOT_CONNECT_NOW:
			return message_starts_with(edata, "the database system is shutting down") ?
				CPM_REJECTED_SHUTTING_DOWN : CPM_REJECTED_STARTING_UP;
		case ERRCODE_ADMIN_SHUTDOWN:
			return CPM_REJECTED_SHUTTING_DOWN;
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
			return message_starts_with(edata, "pg_hba.conf rejects") ||
				message_starts_with(edata, "no pg_hba.conf entry") ?
				CPM_REJECTED_HBA : CPM_REJECTED_AUTHENTICATION;
		case ERRCODE_INVALID_PASSWORD:
		case ERRCODE_QUERY_CANCELED:	/* authentication_timeout */
			return CPM_REJECTED_AUTHENTICATION;
		case ERRCODE_UNDEFINED_DATABASE:
			return CPM_REJECTED_NO_DATABASE;
		default:
			return CPM_REJECTED_OTHER;
	}
}

static void
copy_name_or_empty(char *dest, const char *name)
{
	strlcpy(dest, name ? name : "", NAMEDATALEN);
}

/* Record a rejected connection with the names that the client claimed, which may not exist. */
static void
count_rejection(const ErrorData *edata, TimestampTz at)
{
	CpmRejected rejection;

	memset(&rejection, 0, sizeof(rejection));
	rejection.reason = rejection_reason(edata);
	copy_name_or_empty(rejection.database, MyProcPort->database_name);
	copy_name_or_empty(rejection.role, MyProcPort->user_name);
	copy_name_or_empty(rejection.application_name, MyProcPort->application_name);
	memcpy(&rejection.client_addr, &MyProcPort->raddr, sizeof(SockAddr));
	cpm_rejections_add(&rejection, at);
}

/*
 * Return true if the message reports an error of a client session or of an attempt to connect.
 * Only a process that serves a client has a MyProcPort. A walsender is not a client session, so
 * its errors do not count once its start-up transaction has committed.
 */
static bool
is_client_error(const ErrorData *edata)
{
	return (edata->elevel == ERROR || edata->elevel == FATAL) &&
		IsUnderPostmaster && cpm_is_preloaded() && MyProcPort != NULL &&
		!(cpm_session_is_open() && MyBackendType == B_WAL_SENDER);
}

/* Count a failed statement, or record a FATAL error for the exit callback, which counts it. */
static void
count_failure(const ErrorData *edata, TimestampTz at)
{
	if (edata->elevel == FATAL)
		cpm_session_record_fatal(edata->sqlerrcode);
	else if (cpm_slot_is_open())
	{
		cpm_statement_log_deadlock(edata, at);
		cpm_statement_count_failed(edata->sqlerrcode, at);
	}
}

static void
cpm_emit_log(ErrorData *edata)
{
	/* only record how the worker's wait for a lock ended, because its leader counts the error */
	if (IsParallelWorker() && edata->elevel >= ERROR && cpm_is_preloaded() && MyProc != NULL)
		cpm_slot_record_failed_wait(edata->sqlerrcode, false);
	if (is_client_error(edata) && !is_counting)
	{
		TimestampTz at = GetCurrentTimestamp();

		is_counting = true;
		cpm_errors_add(edata->sqlerrcode, at);
		if (cpm_session_is_open())
			count_failure(edata, at);
		else if (edata->elevel == FATAL)
			count_rejection(edata, at);
		is_counting = false;
	}
	if (previous_emit_log_hook)
		previous_emit_log_hook(edata);
}

void
cpm_log_messages_install(void)
{
	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = cpm_emit_log;
}
