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
 * Record that a top-level BEGIN, COMMIT, SAVEPOINT and so on has just been executed. was_aborted
 * is true if the transaction block had failed before. Returns true if the command ends a
 * transaction that PostgreSQL has not committed or rolled back yet.
 */
extern bool cpm_transaction_record_command(TransactionStmtKind kind, bool chain, bool was_aborted);

/*
 * Count the busy time of a failed block up to the end of the command that ended the block. Call
 * after that command has been counted as a statement, which sets the end.
 */
extern void cpm_transaction_end_failed_block(void);

#endif							/* CPM_TRANSACTION_H */
