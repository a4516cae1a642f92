/* SPDX-License-Identifier: PostgreSQL */
/*
 * transaction.c
 *		Counts the transactions of this session and follows its transaction blocks.
 *
 * The postmaster registers the callbacks, and every backend inherits them. The first transaction
 * that commits is the start-up transaction, which opens the session (hooks/session).
 *
 * The callback also counts the transaction's deferred statement (hooks/statement) and, when the
 * main loop aborts the transaction, an error that log_min_messages hides from emit_log_hook.
 *
 * Process-local. Reads the clock only if a deferred statement waits for the commit, if the
 * transaction failed, and when the session opens or exits.
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
 * The statement timestamp of the last counted transaction that executed no statement, or of the
 * start-up transaction
 */
static TimestampTz last_empty_message_at;

/* Count the busy time up to the end of the last statement, and mark the session as idle. */
static inline void
count_busy_time(void)
{
	if (likely(cpm_progress.busy_since != 0 && cpm_progress.busy_since < cpm_progress.last_end_at))
		cpm_slot_count(CPM_BUSY_TIME_US, cpm_progress.last_end_at - cpm_progress.busy_since);
	cpm_progress.busy_since = 0;
}

void
cpm_transaction_end_failed_block(void)
{
	count_busy_time();
	if (cpm_progress.in_block)
		cpm_progress.busy_since = cpm_progress.last_end_at;
}

bool
cpm_transaction_record_command(TransactionStmtKind kind, bool chain, bool was_aborted)
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

			/*
			 * end_transaction() clears CPM_BLOCK_CHAINS. If the block failed outside savepoints,
			 * that function has already run, so do not set the bit.
			 */
			if (chain && !(was_aborted && GetCurrentTransactionNestLevel() == 1))
				cpm_progress.pending |= CPM_BLOCK_CHAINS;
			if (!was_aborted)
				return true;
			/* the abort callback has run already, unless the block failed in a savepoint */
			cpm_progress.in_block = chain;
			return false;
		default:
			return false;
	}
}

/*
 * Return the SQLSTATE of the error that the main loop is handling and has not flushed yet. Log the
 * error if it is a deadlock.
 */
static int
current_sqlstate(TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		holdoff_count = InterruptHoldoffCount;
	volatile int sqlstate = ERRCODE_INTERNAL_ERROR;

	PG_TRY();
	{
		sqlstate = geterrcode();
		if (sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED)
			cpm_statement_log_deadlock(CopyErrorData(), now);
	}
	PG_CATCH();
	{
		/*
		 * There is no error, or no memory for a copy of it. The abort must still succeed, so
		 * restore what errfinish() has set to 0.
		 */
		MemoryContextSwitchTo(context);
		InterruptHoldoffCount = holdoff_count;
		FlushErrorState();
	}
	PG_END_TRY();
	return sqlstate;
}

/* Count the error that aborted a transaction, unless emit_log_hook has counted it. */
static void
count_hidden_failure(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			sqlstate;

	if (cpm_statement_failure_was_counted())
		return;
	sqlstate = current_sqlstate(now);
	cpm_errors_add(sqlstate, now);
	cpm_statement_count_failed(sqlstate, now);
}

/*
 * Return true if the main loop is aborting the transaction because of an error. It has then
 * cleared debug_query_string. But that string is also NULL at Sync and during a call by the
 * function-call protocol, where an exception handler of PL/pgSQL may abort a subtransaction.
 * InterruptHoldoffCount distinguishes such an abort from one by the main loop: every abort
 * increments it once before it runs the callbacks, and the main loop once more before it aborts.
 */
static bool
is_error_abort(void)
{
	return debug_query_string == NULL && !proc_exit_inprogress && InterruptHoldoffCount > 1;
}

/*
 * Return true if a client's message began the committing transaction, and record its statement
 * timestamp. In an idle session PostgreSQL begins transactions of its own, to deliver
 * notifications and to process invalidations. The client sent no message before these, so the
 * statement timestamp has not changed since the previous transaction. Call only if this
 * transaction executed no statement.
 */
static pg_noinline bool
is_client_transaction(void)
{
	TimestampTz message_at = GetCurrentStatementStartTimestamp();

	if (debug_query_string == NULL &&
		(message_at == cpm_progress.last_message_at || message_at == last_empty_message_at))
		return false;
	last_empty_message_at = message_at;
	return true;
}

/*
 * Count a transaction that ended at the top level. If it ended inside a procedure or utility
 * statement, callers add to CPM_TRANSACTIONS instead, because the busy time continues.
 */
static void
end_transaction(void)
{
	bool		chains = (cpm_progress.pending & CPM_BLOCK_CHAINS) != 0;

	cpm_statement_end_transaction();
	cpm_slot_count(CPM_TRANSACTIONS, 1);
	count_busy_time();
	if (chains)
		cpm_progress.busy_since = cpm_progress.last_end_at;
	cpm_progress.in_block = chains;
	cpm_progress.pending &= ~CPM_BLOCK_CHAINS;
}

/*
 * Count a transaction that an error aborted. If it was a block, the session stays busy until the
 * client ends the block.
 */
static void
end_failed_transaction(void)
{
	bool		was_in_block = cpm_progress.in_block;

	/* busy_since is not set if the first statement of the transaction failed. */
	cpm_statement_start_busy_time(GetCurrentStatementStartTimestamp());
	count_hidden_failure();
	cpm_progress.pending &= ~CPM_BLOCK_CHAINS;
	end_transaction();
	if (was_in_block)
		cpm_progress.busy_since = cpm_progress.last_end_at;
}

static pg_noinline void
handle_abort(void)
{
	cpm_features_end_transaction(false);
	if (!cpm_session_was_ready())
		return;					/* a login trigger refuses the session */
	if (proc_exit_inprogress)
	{
		cpm_statement_start_busy_time(GetCurrentStatementStartTimestamp());
		cpm_session_count_exit_failure();
		cpm_progress.last_end_at = GetCurrentTimestamp();	/* busy until now */
		end_transaction();
	}
	else if (cpm_progress.nesting_level > 0)
		cpm_slot_count(CPM_TRANSACTIONS, 1);	/* a procedure's ROLLBACK */
	else if (is_error_abort())
		end_failed_transaction();
	else
		end_transaction();
}

static pg_noinline void
handle_commit(void)
{
	/* A walsender or worker never has a slot, and takes this branch at every commit. */
	if (!cpm_slot_is_open())
	{
		last_empty_message_at = GetCurrentStatementStartTimestamp();
		cpm_session_finish_opening();
	}
	else if (proc_exit_inprogress)
		return;					/* PostgreSQL cleans up at exit */
	else if (cpm_progress.nesting_level > 0)
		cpm_slot_count(CPM_TRANSACTIONS, 1);	/* of a procedure, VACUUM and so on */
	else if (cpm_progress.busy_since != 0 || is_client_transaction())
		end_transaction();
	if (cpm_slot_is_open() &&
		(cpm_progress.pending & (CPM_FEATURES_PENDING | CPM_SET_CONFIG_SEEN)) != 0)
		cpm_features_end_transaction(true);
}

/* Handle all events that cpm_xact_callback() does not handle itself. */
static pg_noinline void
handle_rare_event(XactEvent event)
{
	if (event == XACT_EVENT_PRE_COMMIT && (cpm_progress.pending & CPM_SESSION_OPENING) != 0)
		cpm_session_begin_opening();
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		handle_commit();
	else if (event == XACT_EVENT_ABORT && cpm_slot_is_open())
		handle_abort();
	else if (event == XACT_EVENT_PARALLEL_ABORT)
		cpm_slot_record_failed_wait(0, false);
	else if ((event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) &&
			 (cpm_progress.pending & CPM_STATEMENT_DEFERRED) != 0 &&
			 cpm_progress.nesting_level == 0 &&
			 (debug_query_string != NULL || TransactionIdIsValid(GetTopTransactionIdIfAny())))
		cpm_statement_start_commit_time();
}

/*
 * End the usual transaction in a few instructions, because this callback runs twice for every
 * commit. If no work is pending, these instructions must have the same effect as
 * end_transaction().
 */
static pg_attribute_hot void
cpm_xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_PRE_COMMIT && cpm_progress.pending == 0)
		return;
	if (event != XACT_EVENT_COMMIT || cpm_progress.pending != 0 ||
		cpm_progress.nesting_level != 0 || proc_exit_inprogress)
	{
		handle_rare_event(event);
		return;
	}
	if (unlikely(cpm_progress.busy_since == 0) && !is_client_transaction())
		return;
	cpm_slot_count(CPM_TRANSACTIONS, 1);
	count_busy_time();
	cpm_progress.in_block = false;
}

static void
cpm_subxact_callback(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	(void) id;
	(void) parent;
	(void) arg;
	if (event != SUBXACT_EVENT_ABORT_SUB || !cpm_slot_is_open())
		return;
	if (is_error_abort())
		count_hidden_failure();
	else
		cpm_slot_record_failed_wait(0, false);
}

void
cpm_transaction_install(void)
{
	RegisterXactCallback(cpm_xact_callback, NULL);
	RegisterSubXactCallback(cpm_subxact_callback, NULL);
}
