/* SPDX-License-Identifier: PostgreSQL */
/*
 * caught_error.h
 *		Logs an error that a worker caught, so that the worker can continue.
 */
#ifndef CPM_CAUGHT_ERROR_H
#define CPM_CAUGHT_ERROR_H

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/elog.h"
#include "utils/palloc.h"

/*
 * Log the error, release all LWLocks and switch to the given memory context. Call in PG_CATCH(),
 * in a process that has no transaction to abort.
 */
static inline void
cpm_log_caught_error(MemoryContext context)
{
	MemoryContextSwitchTo(context);
	HOLD_INTERRUPTS();
	LWLockReleaseAll();
	EmitErrorReport();
	FlushErrorState();
	RESUME_INTERRUPTS();
}

#endif							/* CPM_CAUGHT_ERROR_H */
