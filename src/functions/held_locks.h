/* SPDX-License-Identifier: PostgreSQL */
/*
 * held_locks.h
 *		Describes the locks and snapshots that a session or a prepared transaction holds.
 */
#ifndef CPM_HELD_LOCKS_H
#define CPM_HELD_LOCKS_H

#include "base/session.h"
#include "storage/lock.h"

/*
 * Return a palloc'd description of the locks held, the strongest first, and of the ages of the
 * xmin and of the transaction id, in transactions; NULL if there are none.
 *
 * *table caches the lock table across calls. The caller sets it to NULL before the first call,
 * which copies the lock table while it holds all lock partition locks in shared mode. Needs a
 * transaction, because it looks up names.
 */
extern const char *cpm_session_held_locks(LockData **table, const CpmSession *session);
extern const char *cpm_prepared_xact_held_locks(LockData **table, const CpmPrepared *prepared);

#endif							/* CPM_HELD_LOCKS_H */
