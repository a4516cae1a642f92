/* SPDX-License-Identifier: PostgreSQL */
/*
 * transaction.h
 *		Counts the transactions of this session, and knows which statements end one.
 */
#ifndef CPM_TRANSACTION_H
#define CPM_TRANSACTION_H

#include "nodes/parsenodes.h"

/* Install the callbacks. From _PG_init(), while libraries are preloaded. */
extern void cpm_transaction_install(void);

/*
 * A top-level BEGIN, COMMIT, SAVEPOINT … has been executed; was_aborted tells
 * whether it met a failed transaction. Will its message go on to end a
 * transaction, because it asked for that?
 */
extern bool cpm_transaction_ends_with(TransactionStmtKind kind, bool chain, bool was_aborted);

/* A statement that ended a failed transaction block has been counted. */
extern void cpm_transaction_failed_block_ended(void);

#endif							/* CPM_TRANSACTION_H */
