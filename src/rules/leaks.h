/* SPDX-License-Identifier: PostgreSQL */
/*
 * leaks.h
 *		Detects sessions that their applications seem to have forgotten.
 */
#ifndef CPM_LEAKS_H
#define CPM_LEAKS_H

#include "base/leak.h"
#include "base/session.h"

/*
 * Return the kind of leak that the session is suspected to be, or CPM_NO_LEAK. pool_opened is
 * when its pool last opened a session; 0 if unknown. is_idle_by_design exempts an idle session,
 * because it listens for notifications or holds an advisory lock. Pure.
 */
extern CpmLeakKind cpm_leak_kind(const CpmSession *session, TimestampTz pool_opened,
								 bool is_idle_by_design, TimestampTz now, const CpmAges *ages);

/*
 * Sort the sessions by pool and age, and set newest[i] to the time at which the newest session of
 * session i's pool was opened. Pools are identified by database, role and pool_application. Works
 * without the pool table, and therefore without preloading. Pure.
 */
extern void cpm_newest_of_pools(CpmSession *sessions, int count, TimestampTz *newest);

/* Return the kind's name as views show it; empty for CPM_NO_LEAK. */
extern const char *cpm_leak_kind_name(CpmLeakKind kind);

#endif							/* CPM_LEAKS_H */
