/* SPDX-License-Identifier: PostgreSQL */
/*
 * held_locks.h
 *		What a session or a prepared transaction holds back, in words.
 */
#ifndef CPM_HELD_LOCKS_H
#define CPM_HELD_LOCKS_H

#include "base/session.h"
#include "storage/lock.h"

/*
 * Return the locks that it holds, the strongest first, and the age of its xmin and of its
 * transaction id in transactions; NULL if it holds nothing. palloc'd.
 *
 * *table caches the lock table for further calls: NULL before the first, which copies it under
 * all locks of its partitions, shared. Needs a transaction, because it looks up names.
 */
extern const char *cpm_session_holds(LockData **table, const CpmSession *session);
extern const char *cpm_prepared_xacts_holds(LockData **table, const CpmPrepared *prepared);

#endif							/* CPM_HELD_LOCKS_H */
