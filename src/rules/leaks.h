/* SPDX-License-Identifier: PostgreSQL */
/*
 * leaks.h
 *		Which sessions and prepared transactions look forgotten.
 */
#ifndef CPM_LEAKS_H
#define CPM_LEAKS_H

#include "base/leak.h"
#include "base/session.h"

/*
 * Is the session forgotten? pool_opened is when its pool last opened a session,
 * 0 when that is not known; has_duty, that it has a reason to stay while it is
 * idle. Pure.
 */
extern CpmLeakKind cpm_leak_kind(const CpmSession *session, TimestampTz pool_opened, bool has_duty,
								 TimestampTz now, const CpmAges *ages);

/*
 * When the newest session opened that is of the same database, role and
 * pool_application, for each of them; sessions are sorted by pool and age on the way.
 * For who does not know pools. Pure; n log n.
 */
extern void cpm_newest_of_pools(CpmSession *sessions, int count, TimestampTz *newest);

extern const char *cpm_leak_kind_name(CpmLeakKind kind);

#endif							/* CPM_LEAKS_H */
