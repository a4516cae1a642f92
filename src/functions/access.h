/* SPDX-License-Identifier: PostgreSQL */
/*
 * access.h
 *		Checks of the caller's privileges and of the library being preloaded.
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

/* Return true if the caller may see them of the sessions of all roles. */
extern bool cpm_may_see_all(void);

/*
 * Fail with 42501 unless one of the extension's views calls the function, as its last argument
 * proves (view_pass.h), or the caller may read the whole view of that name in the function's
 * schema. EXECUTE on the functions behind views is granted to PUBLIC, because PostgreSQL checks
 * EXECUTE on the functions in a view against the reader, not against the view's owner.
 */
extern void cpm_require_view(FunctionCallInfo fcinfo, const char *view);

/* Fail with 55000 unless the library is preloaded; what is the object named in the message. */
extern void cpm_require_preloaded(const char *what);

#endif							/* CPM_ACCESS_H */
