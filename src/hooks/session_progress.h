/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_progress.h
 *		What this session is in the middle of, for the hooks to see at a glance.
 *
 * Process-local. Every statement and every transaction looks at these, so each
 * question is one comparison, and all are in one line of the cache: among
 * hundreds of sessions, a statement finds none of its own lines there.
 */
#ifndef CPM_SESSION_PROGRESS_H
#define CPM_SESSION_PROGRESS_H

#include "base/attributes.h"
#include "datatype/timestamp.h"
#include "executor/executor.h"

/* What a transaction's end has to see to; 0 for most. */
#define CPM_STATEMENT_DEFERRED (1 << 0) /* executed, counts with its commit */
#define CPM_PORTALS_IN_PARTS (1 << 1)
#define CPM_BLOCK_CHAINS (1 << 2)	/* the statement that ends the block begins the next */
#define CPM_FEATURES_PENDING (1 << 3)	/* used, and counted with the commit */
#define CPM_SET_CONFIG_SEEN (1 << 4)	/* in the plan that runs next */
#define CPM_SESSION_OPENS (1 << 5)	/* the start-up transaction is about to commit */

typedef struct CpmProgress
{
	int			unsettled;		/* bits as above */

	/*
	 * 0 at the client's own level; above it in a utility statement, and while the session is not
	 * open. Written by hooks/executor and hooks/session.
	 */
	int			level;

	/* Written by hooks/statement: the message of the statement that was executed last. */
	TimestampTz last_message;
	TimestampTz last_end;		/* when that ended, or failed, or its commit was done */
	int			last_flags;		/* how it came */

	bool		in_block;		/* BEGIN was said, and nothing has ended it; by hooks/transaction */

	/* Since when the session has been busy, which is since its transaction began; 0 idle. */
	TimestampTz busy_from;

	/* hooks/executor's: who is called next, and what is no SELECT and the last of its statement. */
	ExecutorRun_hook_type run_on;
	const QueryDesc *finishing;
} CpmProgress;

StaticAssertDecl(sizeof(CpmProgress) <= 64, "progress is longer than a line of the cache");

extern CPM_INTERNAL CpmProgress cpm_progress;

#endif							/* CPM_SESSION_PROGRESS_H */
