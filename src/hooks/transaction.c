/* SPDX-License-Identifier: PostgreSQL */
/*
 * transaction.c
 *		Counts the transactions of this session, and knows which statements end one.
 *
 * Registered in the postmaster and inherited by every backend. The first
 * transaction that commits is the one that lets the session in
 * (hooks/session). Statements learn here that their commit is done, and so
 * does what an error aborts while log_min_messages hides it from the log hook:
 * an abort that the main loop makes of its own accord is a failure.
 *
 * Process-local. Reads the clock only where a transaction wrote, or at exit.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "counters/backend_counters.h"
#include "events/errors.h"
#include "hooks/session.h"
#include "hooks/session_features.h"
#include "hooks/session_progress.h"
#include "hooks/statement.h"
#include "hooks/transaction.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * Statement timestamp of the last counted transaction that executed no statement, or of the
 * start-up transaction.
 */
static TimestampTz last_without_statement;

static inline void
count_busy_time(void)
{
	if (likely(cpm_progress.busy_from != 0 && cpm_progress.busy_from < cpm_progress.last_end))
		cpm_slot_count(CPM_BUSY_TIME_US, cpm_progress.last_end - cpm_progress.busy_from);
	cpm_progress.busy_from = 0;
}

void
cpm_transaction_failed_block_ended(void)
{
	count_busy_time();
	if (cpm_progress.in_block)
		cpm_progress.busy_from = cpm_progress.last_end;
}

bool
cpm_transaction_ends_with(TransactionStmtKind kind, bool chain, bool was_aborted)
{
	switch (kind)
	{
		case TRANS_STMT_BEGIN:
		case TRANS_STMT_START:
			cpm_progress.in_block = true;
			return false;
		case TRANS_STMT_COMMIT:
		case TRANS_STMT_ROLLBACK:
		case TRANS_STMT_PREPARE:
			if (chain)
				cpm_progress.unsettled |= CPM_BLOCK_CHAINS;
			if (!was_aborted)
				return true;
			/* what failed has been aborted already: there may be no more to come */
			cpm_progress.in_block = chain;
			return false;
		default:
			return false;
	}
}

/*
 * The SQLSTATE of the error that is being handled by the main loop, which has
 * not let go of it yet.
 */
static int
current_sqlstate(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int sqlstate = ERRCODE_INTERNAL_ERROR;

	PG_TRY();
	{
		sqlstate = geterrcode();
	}
	PG_CATCH();
	{
		/* there was none: it cannot happen, and must not matter */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return sqlstate;
}

/* An error has aborted a transaction. Count it unless the log hook has seen it. */
static void
note_hidden_failure(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			sqlstate;

	if (cpm_statement_failure_noted())
		return;
	sqlstate = current_sqlstate();
	cpm_errors_add(sqlstate, now);
	cpm_statement_failed(sqlstate, now);
}

/*
 * Is the main loop aborting for an error? It has cleared the query string by
 * then, as it has at Sync and in function calls, where a handler of PL/pgSQL
 * may abort a subtransaction; but only the main loop holds off interrupts,
 * besides the abort itself.
 */
static bool
is_error_abort(void)
{
	return debug_query_string == NULL && !proc_exit_inprogress && InterruptHoldoffCount > 1;
}

/*
 * Return true if a client's message began the committing transaction. PostgreSQL begins
 * transactions of its own in an idle session, to deliver notifications and to process
 * invalidations. No message precedes those, so the statement timestamp has not changed since
 * the previous transaction. Call only if this transaction executed no statement.
 */
static pg_noinline bool
is_clients_transaction(void)
{
	TimestampTz message = GetCurrentStatementStartTimestamp();

	if (debug_query_string == NULL &&
		(message == cpm_progress.last_message || message == last_without_statement))
		return false;
	last_without_statement = message;
	return true;
}

/* A transaction ends that is the session's own, and not one within a statement. */
static void
end_transaction(void)
{
	bool		chains = (cpm_progress.unsettled & CPM_BLOCK_CHAINS) != 0;

	cpm_statement_transaction_ended();
	cpm_slot_count(CPM_TRANSACTIONS, 1);
	count_busy_time();
	if (chains)
		cpm_progress.busy_from = cpm_progress.last_end;
	cpm_progress.in_block = chains;
	cpm_progress.unsettled &= ~CPM_BLOCK_CHAINS;
}

/* An error aborted it. In a block the session stays busy until the client ends that. */
static void
end_failed_transaction(void)
{
	bool		was_in_block = cpm_progress.in_block;

	/* what failed may have been the first statement of its transaction */
	cpm_statement_note_busy(GetCurrentStatementStartTimestamp());
	note_hidden_failure();
	cpm_progress.unsettled &= ~CPM_BLOCK_CHAINS;
	end_transaction();
	if (was_in_block)
		cpm_progress.busy_from = cpm_progress.last_end;
}

static pg_noinline void
note_abort(void)
{
	cpm_features_transaction_ended(false);
	if (proc_exit_inprogress)
	{
		cpm_statement_note_busy(GetCurrentStatementStartTimestamp());
		cpm_session_fail_at_exit();
		cpm_progress.last_end = GetCurrentTimestamp();	/* it was busy until now */
		end_transaction();
	}
	else if (cpm_progress.level > 0)
		cpm_slot_count(CPM_TRANSACTIONS, 1);	/* a procedure's ROLLBACK */
	else if (is_error_abort())
		end_failed_transaction();
	else
		end_transaction();
}

static pg_noinline void
note_commit(void)
{
	if (!cpm_slot_is_open())
	{
		last_without_statement = GetCurrentStatementStartTimestamp();
		cpm_session_note_commit();
	}
	else if (proc_exit_inprogress)
		return;					/* clean-up that no client asked for */
	else if (cpm_progress.level > 0)
		cpm_slot_count(CPM_TRANSACTIONS, 1);	/* a procedure's, VACUUM's … */
	else if (cpm_progress.busy_from != 0 || is_clients_transaction())
		end_transaction();
	if (cpm_slot_is_open() && (cpm_progress.unsettled & (CPM_FEATURES_PENDING | CPM_SET_CONFIG_SEEN)) != 0)
		cpm_features_transaction_ended(true);
}

static pg_noinline void
note_other_event(XactEvent event)
{
	if (event == XACT_EVENT_PRE_COMMIT && (cpm_progress.unsettled & CPM_SESSION_OPENS) != 0)
		cpm_session_note_committing();
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		note_commit();
	else if (event == XACT_EVENT_ABORT && cpm_slot_is_open())
		note_abort();
	else if ((event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) &&
			 (cpm_progress.unsettled & CPM_STATEMENT_DEFERRED) != 0 && cpm_progress.level == 0 &&
			 (debug_query_string != NULL || TransactionIdIsValid(GetTopTransactionIdIfAny())))
		cpm_statement_committing();
}

/*
 * Called twice for every transaction that commits. Most have nothing waiting or
 * begun, and then this is end_transaction() in a few instructions.
 */
static pg_attribute_hot void
note_event(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_PRE_COMMIT && cpm_progress.unsettled == 0)
		return;
	if (event != XACT_EVENT_COMMIT || cpm_progress.unsettled != 0 || cpm_progress.level != 0 || proc_exit_inprogress)
	{
		note_other_event(event);
		return;
	}
	if (unlikely(cpm_progress.busy_from == 0) && !is_clients_transaction())
		return;
	cpm_slot_count(CPM_TRANSACTIONS, 1);
	count_busy_time();
	cpm_progress.in_block = false;
}

static void
note_sub_event(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	(void) id;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB && cpm_slot_is_open() && is_error_abort())
		note_hidden_failure();
}

void
cpm_transaction_install(void)
{
	RegisterXactCallback(note_event, NULL);
	RegisterSubXactCallback(note_sub_event, NULL);
}
