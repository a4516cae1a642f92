/* SPDX-License-Identifier: PostgreSQL */
/*
 * transaction.h
 *		Counts the transactions of this session and follows its transaction blocks.
 */
#ifndef CPM_TRANSACTION_H
#define CPM_TRANSACTION_H

#include "nodes/parsenodes.h"

/* Register the transaction callbacks. Call from _PG_init() while libraries are preloaded. */
extern void cpm_transaction_install(void);

/*
 * Record a top-level BEGIN, COMMIT, SAVEPOINT and so on, which has just been executed.
 * was_aborted: it met a failed transaction block. Returns true if the command asks for the end
 * of a transaction that PostgreSQL has yet to commit or roll back.
 */
extern bool cpm_transaction_record_command(TransactionStmtKind kind, bool chain, bool was_aborted);

/* Count the busy time up to the command that ended a failed block, which has been counted. */
extern void cpm_transaction_end_failed_block(void);

#endif							/* CPM_TRANSACTION_H */
