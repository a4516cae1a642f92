/*
 * progress.h
 *		What this session is in the middle of, for the hooks to see at a glance.
 *
 * Process-local. Every statement and every transaction looks at these, so each
 * question is one comparison.
 */
#ifndef CPM_PROGRESS_H
#define CPM_PROGRESS_H

#include "base/internal.h"
#include "datatype/timestamp.h"

/*
 * 0 at the client's own level; above it in a utility statement, and while the
 * session is not open. Written by collect/executor and collect/session.
 */
extern CPM_INTERNAL int cpm_level;

/* What a transaction's end has to see to; 0 for most. */
#define CPM_STATEMENT_WAITS (1 << 0)	/* executed, counts with its commit */
#define CPM_PORTALS_IN_PARTS (1 << 1)
#define CPM_BLOCK_CHAINS (1 << 2)	/* the statement that ends the block begins the next */
extern CPM_INTERNAL int cpm_unsettled;

/* BEGIN was said, and nothing has ended it. Written by collect/transaction. */
extern CPM_INTERNAL bool cpm_in_block;

/* The message of the statement that was executed last, and how it came. Written by collect/statement. */
extern CPM_INTERNAL TimestampTz cpm_last_message;
extern CPM_INTERNAL int cpm_last_flags;

/* When that statement ended, or failed, or its commit was done. */
extern CPM_INTERNAL TimestampTz cpm_last_end;

/* Since when the session has been busy: the start of its transaction's first statement; 0 idle. */
extern CPM_INTERNAL TimestampTz cpm_busy_from;

#endif							/* CPM_PROGRESS_H */
