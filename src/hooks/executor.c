/* SPDX-License-Identifier: PostgreSQL */
/*
 * executor.c
 *		Recognizes the client's own statements and detects the end of each.
 *
 * A client's statement may run further plans, in functions, triggers and cursors, which must not
 * count. The executor hooks recognize these plans by their source text, because a nesting count of
 * these hooks would be wrong after every error. The text of a further plan differs from
 * debug_query_string, which the main loop sets to the text of the client's portal or, in the
 * extended protocol, to a copy of that text. A further plan within a utility statement (EXPLAIN,
 * COPY, CREATE TABLE AS) is an exception, because it has the text of the portal. The utility hook
 * increments nesting_level, so that such a plan does not count either.
 *
 * A SELECT ends when ExecutorRun has returned its last row. Waiting for ExecutorFinish would add
 * idle time, because the client may close the portal minutes later. Any other statement ends with
 * ExecutorFinish, which fires AFTER triggers. If rules turn a statement into several plans, the
 * last plan ends it.
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

CpmProgress cpm_progress CPM_HOT_DATA = {.nesting_level = 1};

/*
 * The previous hooks, or PostgreSQL's standard functions. The one for ExecutorRun is in
 * cpm_progress. Those for ExecutorFinish and ExecutorEnd are NULL until the first statement that
 * needs our hook installs it. SELECTs whose rows the client fetches at once need neither.
 */
static ExecutorFinish_hook_type next_executor_finish;
static ExecutorEnd_hook_type next_executor_end;
static ProcessUtility_hook_type next_process_utility;

/*
 * Return true if the active portal runs for the client. Call only if it has no result formats:
 * then it belongs to a statement that returns no rows, or to a cursor.
 *
 * CreatePortal() sets CURSOR_OPT_NO_SCROLL, and DECLARE always sets further options, so a portal
 * with only that option is not a declared cursor. A declared cursor keeps the text of the query
 * string that contained its DECLARE. If that text equals debug_query_string, the client has sent
 * an Execute message for the cursor, except in two cases: COMMIT is making the cursor holdable, or
 * a function in the active unnamed portal fetches from it.
 */
static pg_noinline bool
is_client_text(const Portal portal)
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
 * Return true if the active portal runs for the client. Most statements need no comparison of
 * their text: only portals of the client have result formats, and at nesting level 0, only they
 * have the strategy PORTAL_MULTI_QUERY. SPI and DECLARE create no portal for a statement without
 * rows, and EXECUTE runs its portal at a higher level.
 */
static inline bool
is_client_portal(const Portal portal)
{
	if (cpm_progress.nesting_level > 0)
		return false;
	return portal->formats != NULL || portal->strategy == PORTAL_MULTI_QUERY ||
		is_client_text(portal);
}

/* Return true if the query is the portal's own, and the portal runs for the client. */
static inline bool
is_client_query(const QueryDesc *query, const Portal portal)
{
	return portal != NULL && query->sourceText == portal->sourceText && is_client_portal(portal);
}

/* Return true until PortalRunSelect() has recorded the first ExecutorRun of the portal. */
static inline bool
is_first_run(const Portal portal)
{
	return portal->atStart && !portal->atEnd;
}

/*
 * Return the end of the comment that begins at text, or the end of the text if the comment is not
 * closed. Comments nest, as in the scanner.
 */
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

/*
 * Return true if only blanks, semicolons and comments follow the statement in its string. A
 * length of 0 means that the statement extends to the end of the string.
 */
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

/*
 * Return CPM_SIMPLE_PROTOCOL if the client's portal belongs to a simple query, otherwise 0. Of the
 * client's portals, PostgreSQL hides only these from pg_cursors.
 */
static inline int
protocol_flag(const Portal portal)
{
	return portal->visible ? 0 : CPM_SIMPLE_PROTOCOL;
}

/*
 * Return CPM_COMMIT_FOLLOWS if no BEGIN block is open and the transaction ends with this message
 * or, in the extended protocol, with the next Sync; otherwise 0.
 */
static pg_noinline int
commit_flag(const PlannedStmt *planned, const Portal portal)
{
	if (cpm_progress.in_block)
		return 0;
	return portal->visible || is_last_in_string(planned, portal->sourceText) ?
		CPM_COMMIT_FOLLOWS : 0;
}

/* Return true if the commit may fail or take time: the transaction wrote or is serializable. */
static inline bool
commit_matters(void)
{
	return TransactionIdIsValid(MyProc->xid) || IsolationIsSerializable();
}

/*
 * Count the client's statement, whose plan has been executed, or defer it until its commit.
 * Inline because it runs for every SELECT.
 */
static pg_attribute_always_inline void
count_executed(const PlannedStmt *planned, int64 earlier_us)
{
	int			flags = protocol_flag(ActivePortal);

	if (unlikely(commit_matters()))
		flags |= commit_flag(planned, ActivePortal);
	cpm_statement_count_or_defer(planned->queryId, flags, earlier_us);
}

/* Return true if this is the portal's last plan. Rules may turn a statement into several plans. */
static bool
is_last_of_portal(const PlannedStmt *planned)
{
	return list_length(ActivePortal->stmts) <= 1 || llast(ActivePortal->stmts) == planned;
}

/* Count the statement of a suspended portal that ends before it has returned all rows. */
static pg_noinline void
count_closed_portal(const QueryDesc *query)
{
	CpmSuspendedPortal suspended = cpm_suspended_portal_take(query);

	if (suspended.query != NULL)
		cpm_statement_count_suspended(suspended.elapsed_us, suspended.queryid);
}

static void
cpm_ExecutorEnd(QueryDesc *query)
{
	if (unlikely(cpm_progress.pending & CPM_PORTALS_SUSPENDED))
		count_closed_portal(query);
	next_executor_end(query);
}

/*
 * Add a statement to the suspended portals; returns false if there are too many. The first one
 * installs the ExecutorEnd hook.
 */
static bool
suspend_portal(const QueryDesc *query, int64 elapsed_us)
{
	if (next_executor_end == NULL)
	{
		next_executor_end = ExecutorEnd_hook ? ExecutorEnd_hook : standard_ExecutorEnd;
		ExecutorEnd_hook = cpm_ExecutorEnd;
	}
	return cpm_suspended_portal_add(query, elapsed_us);
}

/* Record a run of a SELECT that had a row limit, or that continued an earlier run. */
static pg_noinline void
record_partial_run(QueryDesc *query, uint64 limit)
{
	bool		has_more = limit != 0 && query->estate->es_processed >= limit;
	bool		ran_before = !is_first_run(ActivePortal);
	CpmSuspendedPortal suspended = cpm_suspended_portal_take(query);
	int64		elapsed_us;

	cpm_suspended_portal_set_resumed(NULL);
	if (suspended.query != NULL && !ran_before)
	{
		/* The entry belongs to a query that was freed; this one has the same address. */
		cpm_statement_count_suspended(suspended.elapsed_us, suspended.queryid);
		suspended.elapsed_us = 0;
	}
	else if (suspended.query == NULL && ran_before)
		return;					/* an earlier run counted the statement: it returned the last row,
								 * or the table of suspended portals was full */

	if (!has_more)
	{
		count_executed(query->plannedstmt, suspended.elapsed_us);
		return;
	}
	elapsed_us = suspended.elapsed_us + cpm_statement_record_part(protocol_flag(ActivePortal));
	if (!suspend_portal(query, elapsed_us))
		cpm_statement_count_suspended(elapsed_us, query->plannedstmt->queryId);
}

static pg_noinline void
finish_statement(QueryDesc *query)
{
	next_executor_finish(query);
	cpm_progress.awaiting_finish = NULL;
	count_executed(query->plannedstmt, 0);
}

static void
cpm_ExecutorFinish(QueryDesc *query)
{
	if (unlikely(query == cpm_progress.awaiting_finish))
		finish_statement(query);
	else
		next_executor_finish(query);
}

/*
 * Have cpm_ExecutorFinish() count the statement of this query. The first call installs that hook,
 * which is early enough because ExecutorFinish is called after ExecutorRun.
 */
static pg_noinline void
await_finish(const QueryDesc *query)
{
	cpm_progress.awaiting_finish = query;
	if (next_executor_finish != NULL)
		return;
	next_executor_finish = ExecutorFinish_hook ? ExecutorFinish_hook : standard_ExecutorFinish;
	ExecutorFinish_hook = cpm_ExecutorFinish;
}

/* Record that ExecutorRun has returned, if it ran a statement of the client. */
static inline void
record_run(QueryDesc *query, uint64 limit)
{
	const Portal portal = ActivePortal;

	if (!is_client_query(query, portal))
		return;
	cpm_progress.awaiting_finish = NULL;
	if (portal->strategy != PORTAL_ONE_SELECT)
	{
		if (is_last_of_portal(query->plannedstmt))
			await_finish(query);
	}
	else if (likely(limit == 0 && is_first_run(portal)))
		count_executed(query->plannedstmt, 0);
	else
		record_partial_run(query, limit);
}

/*
 * Handle pending work before a plan runs.
 *
 * If the client continues a suspended portal, record that, so that a failure includes the time of
 * the earlier parts. Do not record it if a function fetches from the portal or a commit makes it
 * holdable, because no record_partial_run() would follow and clear the record.
 *
 * If a statement is deferred and there is no query string, the plan belongs to the commit at Sync
 * (a deferred trigger, or a cursor that becomes holdable), so start timing the commit.
 */
static pg_noinline void
handle_pending_work(const QueryDesc *query)
{
	if ((cpm_progress.pending & CPM_PORTALS_SUSPENDED) != 0 &&
		is_client_query(query, ActivePortal) && !is_first_run(ActivePortal) &&
		cpm_suspended_portal_exists(query))
		cpm_suspended_portal_set_resumed(query);
	if ((cpm_progress.pending & CPM_STATEMENT_DEFERRED) != 0 && debug_query_string == NULL)
		cpm_statement_start_commit_time();
	if ((cpm_progress.pending & CPM_SET_CONFIG_SEEN) != 0)
		cpm_features_scan_plan(query);
}

static pg_attribute_hot void
cpm_ExecutorRun(CPM_EXECUTOR_RUN_PARAMETERS)
{
	if (unlikely(cpm_progress.pending != 0))
		handle_pending_work(query);
	cpm_progress.next_executor_run(CPM_EXECUTOR_RUN_ARGUMENTS);
	record_run(query, count);
}

static bool
ends_block(TransactionStmtKind kind)
{
	return kind == TRANS_STMT_COMMIT || kind == TRANS_STMT_ROLLBACK || kind == TRANS_STMT_PREPARE;
}

/* Count or defer the client's BEGIN, COMMIT or the like, which has been executed. */
static void
count_transaction_command(const PlannedStmt *planned, uint64 queryid, bool was_aborted)
{
	const TransactionStmt *statement = (const TransactionStmt *) planned->utilityStmt;
	int			flags = protocol_flag(ActivePortal);

	if (cpm_transaction_record_command(statement->kind, statement->chain, was_aborted))
		flags |= CPM_COMMIT_FOLLOWS | CPM_ENDS_TRANSACTION;
	else if (!was_aborted)
		flags |= commit_flag(planned, ActivePortal);	/* 0 after BEGIN */
	cpm_statement_count_or_defer(queryid, flags, 0);
	if (was_aborted && ends_block(statement->kind))
		cpm_transaction_end_failed_block();
}

/*
 * Run BEGIN, COMMIT, COMMIT PREPARED or the like. Such a statement needs neither nesting_level nor
 * PG_TRY, which would cost as much as counting the statement: it runs no plan, frees no parse tree
 * and uses no session feature. SPI refuses it, so it is the client's own.
 */
static void
run_transaction_command(PlannedStmt *planned, const char *text, bool read_only_tree,
						ProcessUtilityContext context, ParamListInfo params,
						QueryEnvironment *environment, DestReceiver *destination,
						QueryCompletion *completion)
{
	bool		is_counted = cpm_progress.nesting_level == 0 && ActivePortal != NULL &&
		text == ActivePortal->sourceText;
	bool		was_aborted = is_counted && IsAbortedTransactionBlockState();
	uint64		queryid = planned->queryId; /* pg_stat_statements sets it to 0 */

	if (is_counted)
		cpm_progress.awaiting_finish = NULL;
	next_process_utility(planned, text, read_only_tree, context, params, environment,
						 destination, completion);
	if (is_counted)
		count_transaction_command(planned, queryid, was_aborted);
}

/*
 * The properties of any other utility statement that count_utility() needs. They are copied before
 * the statement runs, because its parse tree may be freed while it runs.
 */
typedef struct UtilityStatement
{
	bool		is_counted;		/* the client's own; if false, the other fields are zero */
	bool		holds_cursor;	/* DECLARE ... WITH HOLD: the commit runs its query */
	int			flags;
	uint64		queryid;
} UtilityStatement;

/* Examine a utility statement that is about to run. */
static UtilityStatement
examine_utility(const PlannedStmt *planned, const char *text)
{
	UtilityStatement utility = {0};

	utility.is_counted = ActivePortal != NULL && text == ActivePortal->sourceText &&
		is_client_portal(ActivePortal) && is_last_of_portal(planned);
	if (!utility.is_counted)
		return utility;
	cpm_progress.awaiting_finish = NULL;
	utility.queryid = planned->queryId;
	utility.flags = protocol_flag(ActivePortal) | commit_flag(planned, ActivePortal);
	if (IsA(planned->utilityStmt, DeclareCursorStmt))
		utility.holds_cursor =
			(((const DeclareCursorStmt *) planned->utilityStmt)->options & CURSOR_OPT_HOLD) != 0;
	return utility;
}

/* Count or defer the client's utility statement, which has been executed. */
static void
count_utility(UtilityStatement *utility)
{
	if (!commit_matters() && !utility->holds_cursor)
		utility->flags &= ~CPM_COMMIT_FOLLOWS;
	cpm_statement_count_or_defer(utility->queryid, utility->flags, 0);
}

/* Run a utility statement that may run plans, which must not count. */
static void
run_utility(PlannedStmt *planned, const char *text, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			DestReceiver *destination, QueryCompletion *completion)
{
	UtilityStatement utility = examine_utility(planned, text);
	CpmFeatureUse use = cpm_features_of_utility(planned->utilityStmt);

	cpm_progress.nesting_level++;
	PG_TRY();
	{
		next_process_utility(planned, text, read_only_tree, context, params, environment,
							 destination, completion);
	}
	PG_FINALLY();
	{
		cpm_progress.nesting_level--;
	}
	PG_END_TRY();
	if (utility.is_counted)
		count_utility(&utility);
	cpm_features_count_utility(&use);
}

static void
cpm_ProcessUtility(PlannedStmt *planned, const char *text, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *environment, DestReceiver *destination,
				   QueryCompletion *completion)
{
	ProcessUtility_hook_type run = IsA(planned->utilityStmt, TransactionStmt) ?
		run_transaction_command : run_utility;

	run(planned, text, read_only_tree, context, params, environment, destination, completion);
}

void
cpm_executor_install(void)
{
	cpm_progress.next_executor_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = cpm_ExecutorRun;
	next_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = cpm_ProcessUtility;
}
