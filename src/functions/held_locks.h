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
 * Return a palloc'd text that describes up to ten locks, the strongest first, and then gives the
 * number of further locks and the ages of the xmin and of the transaction id; NULL if there are
 * none of these.
 *
 * *table caches the lock table. The caller sets it to NULL before the first call, and that call
 * copies the lock table while holding all lock partition locks in shared mode. Needs a
 * transaction, because it looks up names.
 */
extern const char *cpm_session_held_locks(LockData **table, const CpmSession *session);
extern const char *cpm_prepared_xact_held_locks(LockData **table, const CpmPrepared *prepared);

#endif							/* CPM_HELD_LOCKS_H */
