/* SPDX-License-Identifier: PostgreSQL */
/*
 * executor.c
 *		Sees the statements of this session run.
 *
 * What the client asked for is told from what that runs in its turn (functions,
 * triggers, cursors of procedures) by the text it comes from: the main loop
 * sets debug_query_string to the string of the portal that it runs, or to a
 * copy of it, and nothing else runs from that text but parts of a utility
 * statement (EXPLAIN, COPY, CREATE TABLE AS), which we know to be inside. So
 * there is no nesting to count in the executor, nor to repair after an error.
 *
 * Where a statement ends depends on how its portal runs. A SELECT is run by
 * ExecutorRun alone, perhaps in parts, and finished when the portal is closed,
 * which may be minutes later; everything else is run to its end at once, and
 * its AFTER triggers in ExecutorFinish. Rules may make several plans of a
 * statement: it ends with the last.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "counters/backend_counters.h"
#include "executor/executor.h"
#include "hooks/executor.h"
#include "hooks/session_features.h"
#include "hooks/session_progress.h"
#include "hooks/statement.h"
#include "hooks/suspended_portals.h"
#include "hooks/transaction.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "parser/scansup.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/portal.h"

CpmProgress cpm_progress CPM_HOT_DATA = {.level = 1};

/*
 * Who is called next (for ExecutorRun, in cpm_progress): the hook that was there
 * before, or PostgreSQL itself. The first two are installed by the first
 * statement that needs them: most sessions run nothing but SELECTs that are
 * fetched at once.
 */
static ExecutorFinish_hook_type finish_on;
static ExecutorEnd_hook_type end_on;
static ProcessUtility_hook_type utility_on;

/*
 * A portal without result formats: the client's own, of a statement that returns
 * nothing, or a cursor. A cursor that SQL declared has options of its own and
 * may bear the client's text, of the string it was declared in; it is run for
 * the client by Execute only, not when it is made holdable, nor by a function
 * that another portal runs.
 */
static pg_noinline bool
is_clients_text(const Portal portal)
{
	Portal		unnamed;

	if (debug_query_string == NULL)
		return false;
	if (portal->sourceText == debug_query_string)
		return true;
	if (strcmp(portal->sourceText, debug_query_string) != 0)
		return false;
	if (portal->cursorOptions == CURSOR_OPT_NO_SCROLL)
		return true;
	unnamed = GetPortalByName("");
	return portal->holdStore == NULL &&
		(unnamed == NULL || unnamed == portal || unnamed->status != PORTAL_ACTIVE);
}

/*
 * Is the active portal the client's own? That others have no result formats
 * spares most statements the comparison of their text.
 */
static inline bool
is_clients(const Portal portal)
{
	if (cpm_progress.level > 0)
		return false;
	return portal->formats != NULL || is_clients_text(portal);
}

/* While ExecutorRun runs, and until its caller knows of it. */
static inline bool
is_first_run(const Portal portal)
{
	return portal->atStart && !portal->atEnd;
}

/* After a comment, or at the end of the text when that does not end. */
static const char *
skip_comment(const char *text)
{
	int			depth = 1;

	if (text[0] == '-')
		return text + strcspn(text, "\r\n");
	for (text += 2; *text != '\0' && depth > 0; text++)
	{
		if (text[0] == '/' && text[1] == '*')
			depth++, text++;
		else if (text[0] == '*' && text[1] == '/')
			depth--, text++;
	}
	return text;
}

/* Does nothing follow the statement in the string that it came in? */
static pg_noinline bool
is_last_in_string(const PlannedStmt *planned, const char *string)
{
	const char *rest;

	if (planned->stmt_len <= 0 || planned->stmt_location < 0)
		return true;
	rest = string + planned->stmt_location + planned->stmt_len;
	for (;;)
	{
		if (*rest == ';' || scanner_isspace(*rest))
			rest++;
		else if ((rest[0] == '-' && rest[1] == '-') || (rest[0] == '/' && rest[1] == '*'))
			rest = skip_comment(rest);
		else
			return *rest == '\0';
	}
}

/* Only the portals of simple queries are hidden from pg_cursors. */
static inline int
protocol_flag(const Portal portal)
{
	return portal->visible ? 0 : CPM_SIMPLE_PROTOCOL;
}

/* Does the message go on to commit? In the extended protocol, with the next Sync. */
static pg_noinline int
commit_flag(const PlannedStmt *planned, const Portal portal)
{
	if (cpm_progress.in_block)
		return 0;
	return portal->visible || is_last_in_string(planned, portal->sourceText) ?
		CPM_COMMIT_FOLLOWS : 0;
}

/* Can that commit fail, or take time? */
static inline bool
commit_matters(void)
{
	return TransactionIdIsValid(MyProc->xid) || IsolationIsSerializable();
}

/* Inline where every SELECT comes by. */
static pg_attribute_always_inline void
note_executed(const PlannedStmt *planned, int64 earlier_us)
{
	int			flags = protocol_flag(ActivePortal);

	if (unlikely(commit_matters()))
		flags |= commit_flag(planned, ActivePortal);
	cpm_statement_executed(planned->queryId, flags, earlier_us);
}

static bool
is_last_of_portal(const PlannedStmt *planned)
{
	return list_length(ActivePortal->stmts) <= 1 || llast(ActivePortal->stmts) == planned;
}

/* A portal that ran for some rows may be closed before it came to its end. */
static pg_noinline void
end_parts(const QueryDesc *query)
{
	CpmSuspendedPortal partial = cpm_suspended_portal_take(query);

	if (partial.query != NULL)
		cpm_statement_ended_in_parts(partial.elapsed_us, partial.queryid);
}

static void
cpm_ExecutorEnd(QueryDesc *query)
{
	if (unlikely(cpm_progress.unsettled & CPM_PORTALS_IN_PARTS))
		end_parts(query);
	end_on(query);
}

/* Keep a statement whose portal has run in part. Only a session that has some needs the hook. */
static bool
keep_part(const QueryDesc *query, int64 elapsed_us)
{
	if (end_on == NULL)
	{
		end_on = ExecutorEnd_hook ? ExecutorEnd_hook : standard_ExecutorEnd;
		ExecutorEnd_hook = cpm_ExecutorEnd;
	}
	return cpm_suspended_portal_keep(query, elapsed_us);
}

/* An Execute has run a SELECT for some rows only, or not for the first time. */
static pg_noinline void
note_part(QueryDesc *query, uint64 limit)
{
	bool		has_more = limit != 0 && query->estate->es_processed >= limit;
	bool		ran_before = !is_first_run(ActivePortal);
	CpmSuspendedPortal before = cpm_suspended_portal_take(query);
	int64		elapsed_us;

	cpm_suspended_portal_set_resumed(NULL);
	if (before.query != NULL && !ran_before)
	{
		/* that one is gone, and this one happens to stand where it did */
		cpm_statement_ended_in_parts(before.elapsed_us, before.queryid);
		before.elapsed_us = 0;
	}
	else if (before.query == NULL && ran_before)
		return;					/* counted already: the portal is at its end */

	if (!has_more)
	{
		note_executed(query->plannedstmt, before.elapsed_us);
		return;
	}
	elapsed_us = before.elapsed_us + cpm_statement_part_executed(protocol_flag(ActivePortal));
	if (!keep_part(query, elapsed_us))
		cpm_statement_ended_in_parts(elapsed_us, query->plannedstmt->queryId);
}

static pg_noinline void
finish_statement(QueryDesc *query)
{
	finish_on(query);
	cpm_progress.finishing = NULL;
	note_executed(query->plannedstmt, 0);
}

static void
cpm_ExecutorFinish(QueryDesc *query)
{
	if (unlikely(query == cpm_progress.finishing))
		finish_statement(query);
	else
		finish_on(query);
}

/* The first time in a session, also install the hook, which is asked only after this. */
static pg_noinline void
expect_finish(const QueryDesc *query)
{
	cpm_progress.finishing = query;
	if (finish_on != NULL)
		return;
	finish_on = ExecutorFinish_hook ? ExecutorFinish_hook : standard_ExecutorFinish;
	ExecutorFinish_hook = cpm_ExecutorFinish;
}

static inline void
note_run(QueryDesc *query, uint64 limit)
{
	const Portal portal = ActivePortal;

	if (portal == NULL || query->sourceText != portal->sourceText || !is_clients(portal))
		return;
	cpm_progress.finishing = NULL;
	if (portal->strategy != PORTAL_ONE_SELECT)
	{
		if (is_last_of_portal(query->plannedstmt))
			expect_finish(query);
	}
	else if (likely(limit == 0 && is_first_run(portal)))
		note_executed(query->plannedstmt, 0);
	else
		note_part(query, limit);
}

/*
 * Something is left over from before, or the plan calls set_config(). Either a part of this very portal; or a
 * statement waits for its commit, and what runs now, when no message is being
 * executed, belongs to that: deferred triggers, or a cursor that is held.
 */
static pg_noinline void
note_unsettled_run(const QueryDesc *query)
{
	if ((cpm_progress.unsettled & CPM_PORTALS_IN_PARTS) != 0 && cpm_progress.level == 0 &&
		cpm_suspended_portal_exists(query))
		cpm_suspended_portal_set_resumed(query);
	if ((cpm_progress.unsettled & CPM_STATEMENT_DEFERRED) != 0 && debug_query_string == NULL)
		cpm_statement_committing();
	if ((cpm_progress.unsettled & CPM_SET_CONFIG_SEEN) != 0)
		cpm_features_scan_plan(query);
}

static pg_attribute_hot void
cpm_ExecutorRun(CPM_EXECUTOR_RUN_PARAMETERS)
{
	if (unlikely(cpm_progress.unsettled != 0))
		note_unsettled_run(query);
	cpm_progress.run_on(CPM_EXECUTOR_RUN_ARGUMENTS);
	note_run(query, count);
}

/* All that is needed later: the plan may be gone when its statement has run. */
typedef struct Utility
{
	bool		counts;
	bool		is_transaction;
	bool		chain;
	bool		was_aborted;
	bool		holds_cursor;	/* which is run by the commit */
	TransactionStmtKind kind;
	int			flags;
	uint64		queryid;
} Utility;

static Utility
look_at_utility(const PlannedStmt *planned, const char *text)
{
	Utility		utility = {0};

	utility.counts = ActivePortal != NULL && text == ActivePortal->sourceText &&
		is_clients(ActivePortal) && is_last_of_portal(planned);
	if (!utility.counts)
		return utility;
	cpm_progress.finishing = NULL;
	utility.queryid = planned->queryId;
	utility.flags = protocol_flag(ActivePortal) | commit_flag(planned, ActivePortal);
	if (IsA(planned->utilityStmt, TransactionStmt))
	{
		const TransactionStmt *statement = (const TransactionStmt *) planned->utilityStmt;

		utility.is_transaction = true;
		utility.kind = statement->kind;
		utility.chain = statement->chain;
		utility.was_aborted = IsAbortedTransactionBlockState();
	}
	else if (IsA(planned->utilityStmt, DeclareCursorStmt))
		utility.holds_cursor =
			(((const DeclareCursorStmt *) planned->utilityStmt)->options & CURSOR_OPT_HOLD) != 0;
	return utility;
}

static bool
ends_block(TransactionStmtKind kind)
{
	return kind == TRANS_STMT_COMMIT || kind == TRANS_STMT_ROLLBACK || kind == TRANS_STMT_PREPARE;
}

static void
note_utility(Utility *utility)
{
	if (utility->is_transaction)
	{
		if (cpm_transaction_ends_with(utility->kind, utility->chain, utility->was_aborted))
			utility->flags |= CPM_COMMIT_FOLLOWS | CPM_ENDS_TRANSACTION;
		else if (cpm_progress.in_block || utility->was_aborted)
			utility->flags &= ~CPM_COMMIT_FOLLOWS;
	}
	else if (!commit_matters() && !utility->holds_cursor)
		utility->flags &= ~CPM_COMMIT_FOLLOWS;
	cpm_statement_executed(utility->queryid, utility->flags, 0);
	if (utility->was_aborted && ends_block(utility->kind))
		cpm_transaction_failed_block_ended();
}

static void
cpm_ProcessUtility(PlannedStmt *planned, const char *text, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
				   DestReceiver *destination, QueryCompletion *completion)
{
	Utility		utility = look_at_utility(planned, text);
	CpmFeatureUse use = cpm_features_of_utility(planned->utilityStmt);

	cpm_progress.level++;
	PG_TRY();
	{
		utility_on(planned, text, read_only_tree, context, params, environment, destination,
				   completion);
	}
	PG_FINALLY();
	{
		cpm_progress.level--;
	}
	PG_END_TRY();
	if (utility.counts)
		note_utility(&utility);
	cpm_features_utility_done(&use);
}

void
cpm_executor_install(void)
{
	cpm_progress.run_on = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = cpm_ExecutorRun;
	utility_on = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = cpm_ProcessUtility;
}
