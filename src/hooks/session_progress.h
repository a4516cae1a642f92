/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_progress.h
 *		The state of this session that the hooks read in every statement and transaction.
 *
 * Process-local. All fields share one cache line: with hundreds of sessions on a server, each
 * line that a statement touches is likely to be a cache miss.
 */
#ifndef CPM_SESSION_PROGRESS_H
#define CPM_SESSION_PROGRESS_H

#include "base/attributes.h"
#include "datatype/timestamp.h"
#include "executor/executor.h"

/*
 * Work left for the next plan or for the end of the transaction. Most transactions have none, so
 * one comparison of all bits with 0 keeps them on the fast path.
 */
#define CPM_STATEMENT_DEFERRED (1 << 0) /* a statement waits for the end of its commit */
#define CPM_PORTALS_SUSPENDED (1 << 1)	/* hooks/suspended_portals has an entry */
#define CPM_BLOCK_CHAINS (1 << 2)	/* COMMIT or ROLLBACK AND CHAIN was executed */
#define CPM_FEATURES_PENDING (1 << 3)	/* uses of features, or channels, wait for the commit */
#define CPM_SET_CONFIG_SEEN (1 << 4)	/* the executor has prepared a call of set_config() */
#define CPM_SESSION_OPENING (1 << 5)	/* the start-up transaction has not begun to commit */

typedef struct CpmProgress
{
	/*
	 * The bits above. Written by hooks/session, session_features, statement, suspended_portals
	 * and transaction.
	 */
	int			pending;

	/*
	 * The depth of nested utility statements, plus 1 while the session has no slot. Above 0, a
	 * plan is not the client's own and does not count. Written by hooks/executor and
	 * hooks/session.
	 */
	int			nesting_level;

	/*
	 * The last statement that was executed or failed. Written by hooks/statement; at exit
	 * hooks/transaction writes last_end_at.
	 */
	TimestampTz last_message_at;	/* when its message was read */
	TimestampTz last_end_at;	/* when it ended or failed, or its commit ended */
	int			last_flags;		/* CPM_SIMPLE_PROTOCOL and so on, see hooks/statement.h */

	bool		in_block;		/* in a BEGIN block; written by hooks/transaction */

	/*
	 * The start of the busy time that has not been counted yet: the start of the transaction or,
	 * in a failed block, its failure. 0 while the session is idle. Written by hooks/statement and
	 * hooks/transaction.
	 */
	TimestampTz busy_since;

	/* The previous hook, or standard_ExecutorRun. Written by hooks/executor at startup. */
	ExecutorRun_hook_type next_executor_run;

	/*
	 * The query whose ExecutorFinish ends the client's statement, or NULL. Written by
	 * hooks/executor; hooks/statement clears it after an error.
	 */
	const QueryDesc *awaiting_finish;
} CpmProgress;

StaticAssertDecl(sizeof(CpmProgress) <= 64, "CpmProgress must fit into one cache line");

extern CPM_INTERNAL CpmProgress cpm_progress;

#endif							/* CPM_SESSION_PROGRESS_H */
