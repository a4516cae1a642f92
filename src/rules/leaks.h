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
 * Return the kind of leak that the session is suspected of, or CPM_NO_LEAK. pool_opened is the
 * time at which its pool last opened a session; 0 if unknown. is_idle_by_design means that the
 * session listens for notifications or holds an advisory lock, so it is no suspect while idle.
 * Pure.
 */
extern CpmLeakKind cpm_leak_kind(const CpmSession *session, TimestampTz pool_opened,
								 bool is_idle_by_design, TimestampTz now, const CpmAges *ages);

/*
 * Sort the sessions by pool and age. Then set newest[i] to the time at which the newest session
 * in the pool of sessions[i] was opened. Database, role and pool_application identify a pool, so
 * that this works without the pool table, and therefore without preloading. Pure.
 */
extern void cpm_newest_of_pools(CpmSession *sessions, int count, TimestampTz *newest);

/* Return the kind's name as views show it; empty for CPM_NO_LEAK. */
extern const char *cpm_leak_kind_name(CpmLeakKind kind);

#endif							/* CPM_LEAKS_H */
