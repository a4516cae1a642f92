/*
 * transaction.h
 *		Counts the transactions of this session, and knows which statements end one.
 */
#ifndef CPM_TRANSACTION_H
#define CPM_TRANSACTION_H

#include "nodes/parsenodes.h"

/* Install the callbacks. From _PG_init(), while libraries are preloaded. */
extern void cpm_transaction_install(void);

/* Is the session in a transaction block that it began itself? */
extern bool cpm_transaction_in_block(void);

/*
 * A top-level BEGIN, COMMIT, SAVEPOINT … has been executed; was_aborted tells
 * whether it met a failed transaction. Will its message go on to end a
 * transaction, because it asked for that?
 */
extern bool cpm_transaction_ends_with(TransactionStmtKind kind, bool chain, bool was_aborted);

#endif							/* CPM_TRANSACTION_H */
