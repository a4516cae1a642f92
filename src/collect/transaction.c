/*
 * transaction.c
 *		Counts the transactions of this session, and knows which statements end one.
 *
 * Registered in the postmaster and inherited by every backend. The first
 * transaction that commits is the one that lets the session in
 * (collect/session). Statements learn here that their commit is done, and so
 * does what an error aborts while log_min_messages hides it from the log hook:
 * an abort for which nobody asked is a failure. Whoever asks for one (ROLLBACK,
 * a procedure) does so while a query string is set; the main loop clears that
 * before it aborts for an error.
 *
 * Process-local. Reads the clock only where a transaction wrote, or at exit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "collect/executor.h"
#include "collect/session.h"
#include "collect/statement.h"
#include "collect/transaction.h"
#include "storage/ipc.h"
#include "store/errors.h"
#include "store/slots.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static bool in_block;			/* BEGIN was said, and nothing has ended it */
static bool chains;				/* the statement that ends it begins the next */
static TimestampTz busy_until;	/* up to here busy time has been counted */

bool
cpm_transaction_in_block(void)
{
	return in_block;
}

/* The session has been busy since the transaction, or this statement, began. */
static void
add_busy_until(TimestampTz end)
{
	TimestampTz start = Min(GetCurrentTransactionStartTimestamp(),
							GetCurrentStatementStartTimestamp());

	if (busy_until <= end)
		start = Max(start, busy_until);
	cpm_slot_add_busy(Max(end - start, 0));
	busy_until = end;
}

bool
cpm_transaction_ends_with(TransactionStmtKind kind, bool chain, bool was_aborted)
{
	switch (kind)
	{
		case TRANS_STMT_BEGIN:
		case TRANS_STMT_START:
			in_block = true;
			return false;
		case TRANS_STMT_COMMIT:
		case TRANS_STMT_ROLLBACK:
		case TRANS_STMT_PREPARE:
			chains = chain;
			if (!was_aborted)
				return true;
			/* what failed has been aborted already: there may be nothing more to come */
			in_block = chain;
			add_busy_until(GetCurrentTimestamp());
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

	if (cpm_statement_take_failure())
		return;
	sqlstate = current_sqlstate();
	cpm_errors_add(sqlstate, now);
	cpm_executor_failed(sqlstate, now);
	(void) cpm_statement_take_failure();
}

static bool
is_error_abort(void)
{
	return debug_query_string == NULL && !proc_exit_inprogress;
}

static void
end_transaction(bool explained)
{
	TimestampTz end = cpm_statement_transaction_ended();

	cpm_slot_count_transaction();
	add_busy_until(proc_exit_inprogress ? GetCurrentTimestamp() : end);
	in_block = explained && chains;
	chains = false;
}

static void
note_abort(void)
{
	if (proc_exit_inprogress)
	{
		cpm_session_fail_at_exit();
		end_transaction(false);
	}
	else if (cpm_executor_in_utility())
		cpm_slot_count_transaction();	/* a procedure's ROLLBACK */
	else
	{
		if (is_error_abort())
			note_hidden_failure();
		end_transaction(!is_error_abort());
	}
}

static void
note_event(XactEvent event, void *arg)
{
	(void) arg;
	if (!cpm_slot_is_open())
	{
		if (event == XACT_EVENT_COMMIT)
			cpm_session_note_commit();
		return;
	}
	if (proc_exit_inprogress && event != XACT_EVENT_ABORT)
		return;					/* clean-up that no client asked for */
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (!cpm_executor_in_utility())
				cpm_statement_committing(TransactionIdIsValid(GetTopTransactionIdIfAny()));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			if (cpm_executor_in_utility())
				cpm_slot_count_transaction();	/* a procedure's, VACUUM's … */
			else
				end_transaction(true);
			break;
		case XACT_EVENT_ABORT:
			note_abort();
			break;
		default:
			break;
	}
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
