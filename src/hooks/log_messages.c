/* SPDX-License-Identifier: PostgreSQL */
/*
 * log_messages.c
 *		Counts errors and refused connections as the server reports them.
 *
 * emit_log_hook is the one place that every refusal passes, also in a child
 * that the postmaster started only to say "sorry, too many clients already".
 * Such a process has no PGPROC: nothing here takes a lock, allocates, looks
 * anything up or raises an error; it adds to atomics and returns.
 *
 * The reason is told by SQLSTATE and, where one stands for several, by the
 * message's untranslated format (message_id): the text depends on lc_messages.
 *
 * A process that the postmaster started by exec (EXEC_BACKEND, so Windows) attaches to shared
 * memory only after it has read the startup packet and has a PGPROC. What it reports before
 * that is not counted.
 *
 * A FATAL before the session is open (hooks/session.c) refuses the connection;
 * later it ends a session.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "counters/backend_counters.h"
#include "events/errors.h"
#include "events/rejections.h"
#include "hooks/log_messages.h"
#include "hooks/session.h"
#include "hooks/statement.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

static emit_log_hook_type previous_emit_log_hook;
static bool is_inside;			/* guards against a message from the hook itself */

static bool
says(const ErrorData *edata, const char *beginning)
{
	return edata->message_id != NULL &&
		strncmp(edata->message_id, beginning, strlen(beginning)) == 0;
}

static CpmRejection
reason_for_too_many(const ErrorData *edata)
{
	if (says(edata, "sorry, too many clients already"))
		return CPM_REJECTED_TOO_MANY;
	if (says(edata, "remaining connection slots are reserved"))
		return CPM_REJECTED_RESERVED;
	if (says(edata, "too many connections for role"))
		return CPM_REJECTED_ROLE_LIMIT;
	if (says(edata, "too many connections for database"))
		return CPM_REJECTED_DATABASE_LIMIT;
	return CPM_REJECTED_OTHER;	/* max_wal_senders */
}

static CpmRejection
reason_of(const ErrorData *edata)
{
	switch (edata->sqlerrcode)
	{
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return reason_for_too_many(edata);
		case ERRCODE_CANNOT_CONNECT_NOW:
			return says(edata, "the database system is shutting down") ?
				CPM_REJECTED_SHUTTING_DOWN : CPM_REJECTED_STARTING_UP;
		case ERRCODE_ADMIN_SHUTDOWN:
			return CPM_REJECTED_SHUTTING_DOWN;
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
			return says(edata, "pg_hba.conf rejects") || says(edata, "no pg_hba.conf entry") ?
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
copy_claim(char *to, const char *claim)
{
	strlcpy(to, claim ? claim : "", NAMEDATALEN);
}

static void
count_refusal(const ErrorData *edata, TimestampTz at)
{
	CpmRejected refused;

	memset(&refused, 0, sizeof(refused));
	refused.reason = reason_of(edata);
	copy_claim(refused.database, MyProcPort->database_name);
	copy_claim(refused.role, MyProcPort->user_name);
	copy_claim(refused.application_name, MyProcPort->application_name);
	memcpy(&refused.client_addr, &MyProcPort->raddr, sizeof(SockAddr));
	cpm_rejections_add(&refused, at);
}

/*
 * Only a process that serves a client has a MyProcPort. A walsender is no client
 * session, but one that is refused was an attempt to connect.
 */
static bool
is_client_error(const ErrorData *edata)
{
	return (edata->elevel == ERROR || edata->elevel == FATAL) &&
		IsUnderPostmaster && cpm_is_preloaded() && MyProcPort != NULL &&
		!(cpm_session_is_open() && MyBackendType == B_WAL_SENDER);
}

/* What failed in a session: a statement, or the session itself. */
static void
count_failure(const ErrorData *edata, TimestampTz at)
{
	if (edata->elevel == FATAL)
		cpm_session_note_fatal(edata->sqlerrcode);
	else if (cpm_slot_is_open())
		cpm_statement_failed(edata->sqlerrcode, at);
}

static void
cpm_emit_log(ErrorData *edata)
{
	if (is_client_error(edata) && !is_inside)
	{
		TimestampTz at = GetCurrentTimestamp();

		is_inside = true;
		cpm_errors_add(edata->sqlerrcode, at);
		if (cpm_session_is_open())
			count_failure(edata, at);
		else if (edata->elevel == FATAL)
			count_refusal(edata, at);
		is_inside = false;
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
