/* SPDX-License-Identifier: PostgreSQL */
/*
 * access.h
 *		Checks the caller's privileges, and that the library is preloaded.
 */
#ifndef CPM_ACCESS_H
#define CPM_ACCESS_H

#include "fmgr.h"

/* The text that pg_stat_activity shows in place of a query that the caller may not see. */
#define CPM_HIDDEN_QUERY "<insufficient privilege>"

/*
 * Return true if the caller may see the state, times, address and query of the role's sessions:
 * the caller has the privileges of that role or of pg_read_all_stats.
 */
extern bool cpm_may_see(Oid role);

/* Return true if the caller may see them for the sessions of all roles. */
extern bool cpm_may_see_all(void);

/*
 * Fail with 42501 unless a view of the extension calls the function, as the function's last
 * argument proves (view_pass.h), or the caller may read all columns of the given view, which is
 * in the function's schema. EXECUTE on the functions behind views is granted to PUBLIC, because
 * PostgreSQL checks EXECUTE on the functions in a view against the reader, not against the view's
 * owner.
 */
extern void cpm_require_view(FunctionCallInfo fcinfo, const char *view);

/* Fail with 55000 unless the library is preloaded. object names the caller in the message. */
extern void cpm_require_preloaded(const char *object);

#endif							/* CPM_ACCESS_H */
