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

#include "access/xact.h"
#include "base/compat.h"
#include "collect/executor.h"
#include "collect/portals.h"
#include "collect/statement.h"
#include "collect/transaction.h"
#include "executor/executor.h"
#include "parser/scansup.h"
#include "store/slots.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"

static ExecutorRun_hook_type previous_run;
static ExecutorFinish_hook_type previous_finish;
static ExecutorEnd_hook_type previous_end;
static ProcessUtility_hook_type previous_utility;

static int	utility_depth;
static const QueryDesc *running_again;	/* fetched in parts before, and running now */

bool
cpm_executor_in_utility(void)
{
	return utility_depth > 0;
}

static inline bool
is_clients(const char *text)
{
	if (ActivePortal == NULL || debug_query_string == NULL || utility_depth > 0 ||
		!cpm_slot_is_open())
		return false;
	if (text == debug_query_string)
		return true;			/* simple query protocol */
	return text == ActivePortal->sourceText && strcmp(text, debug_query_string) == 0;
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
static bool
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

/* Simple query protocol: its portal is the one kind that pg_cursors does not show. */
static bool
is_simple(void)
{
	return !ActivePortal->visible;
}

/* What is known of a statement that ends the transaction only if it is alone. */
static CpmStatement
describe(const PlannedStmt *planned)
{
	CpmStatement statement = {
		.queryid = planned->queryId,
		.is_simple = is_simple(),
	};

	/* the extended protocol has one statement in a string */
	statement.commit_follows = !cpm_transaction_in_block() &&
		(!statement.is_simple || is_last_in_string(planned, debug_query_string));
	return statement;
}

static bool
is_last_of_portal(const PlannedStmt *planned)
{
	return list_length(ActivePortal->stmts) <= 1 || llast(ActivePortal->stmts) == planned;
}

/* An Execute has run a SELECT, to its end or for some rows. */
static void
note_run(QueryDesc *query, uint64 limit, bool ran_before)
{
	CpmStatement statement;
	bool		has_more = limit != 0 && query->estate->es_processed >= limit;
	CpmPartial	before = {0};

	if (cpm_partials > 0)
		before = cpm_partial_take(query);
	if (before.query != NULL && !ran_before)
	{
		/* that one is gone, and this one happens to stand where it did */
		cpm_statement_ended_in_parts(before.elapsed_us, before.queryid);
		before.elapsed_us = 0;
	}
	else if (before.query == NULL && ran_before)
		return;					/* counted already: the portal is at its end */

	statement = describe(query->plannedstmt);
	if (has_more)
	{
		int64		elapsed_us = before.elapsed_us + cpm_statement_part_executed(statement.is_simple);

		if (!cpm_partial_keep(query, elapsed_us))
			cpm_statement_ended_in_parts(elapsed_us, statement.queryid);
		return;
	}
	statement.earlier_us = before.elapsed_us;
	cpm_statement_executed(&statement);
}

static void
run(CPM_EXECUTOR_RUN_PARAMETERS)
{
	bool		is_select = is_clients(query->sourceText) &&
		ActivePortal->strategy == PORTAL_ONE_SELECT;
	bool		ran_before = query->already_executed;

	if (is_select && ran_before)
		running_again = query;
	if (previous_run)
		previous_run(CPM_EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(CPM_EXECUTOR_RUN_ARGUMENTS);
	if (is_select)
	{
		running_again = NULL;
		note_run(query, count, ran_before);
	}
}

static void
finish(QueryDesc *query)
{
	if (previous_finish)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);

	if (is_clients(query->sourceText) && ActivePortal->strategy != PORTAL_ONE_SELECT &&
		is_last_of_portal(query->plannedstmt))
	{
		CpmStatement statement = describe(query->plannedstmt);

		cpm_statement_executed(&statement);
	}
}

static void
end(QueryDesc *query)
{
	if (unlikely(cpm_partials > 0))
	{
		CpmPartial	partial = cpm_partial_take(query);

		/* closed before it came to its end */
		if (partial.query != NULL)
			cpm_statement_ended_in_parts(partial.elapsed_us, partial.queryid);
	}
	if (previous_end)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
}

/* All that is needed later: the plan may be gone when its statement has run. */
typedef struct Utility
{
	bool		counts;
	bool		is_transaction;
	TransactionStmtKind kind;
	bool		chain;
	bool		was_aborted;
	CpmStatement statement;
} Utility;

static Utility
look_at_utility(const PlannedStmt *planned, const char *text)
{
	Utility		utility = {.is_transaction = IsA(planned->utilityStmt, TransactionStmt)};

	utility.counts = is_clients(text) && is_last_of_portal(planned);
	if (!utility.counts)
		return utility;
	utility.statement = describe(planned);
	if (utility.is_transaction)
	{
		const TransactionStmt *statement = (const TransactionStmt *) planned->utilityStmt;

		utility.kind = statement->kind;
		utility.chain = statement->chain;
		utility.was_aborted = IsAbortedTransactionBlockState();
	}
	return utility;
}

static void
note_utility(Utility *utility)
{
	CpmStatement *statement = &utility->statement;

	if (utility->is_transaction)
	{
		statement->ends_transaction =
			cpm_transaction_ends_with(utility->kind, utility->chain, utility->was_aborted);
		statement->commit_follows = statement->ends_transaction ||
			(statement->commit_follows && !cpm_transaction_in_block() && !utility->was_aborted);
	}
	cpm_statement_executed(statement);
}

static void
process_utility(PlannedStmt *planned, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
				DestReceiver *destination, QueryCompletion *completion)
{
	Utility		utility = look_at_utility(planned, text);

	utility_depth++;
	PG_TRY();
	{
		if (previous_utility)
			previous_utility(planned, text, read_only_tree, context, params, environment,
							 destination, completion);
		else
			standard_ProcessUtility(planned, text, read_only_tree, context, params, environment,
									destination, completion);
	}
	PG_FINALLY();
	{
		utility_depth--;
	}
	PG_END_TRY();
	if (utility.counts)
		note_utility(&utility);
}

void
cpm_executor_failed(int sqlstate, TimestampTz now)
{
	CpmPartial	partial = {0};

	if (running_again != NULL)
		partial = cpm_partial_take(running_again);
	running_again = NULL;
	cpm_statement_failed(sqlstate, now, partial.elapsed_us, pgstat_get_my_query_id());
}

void
cpm_executor_install(void)
{
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
