/* SPDX-License-Identifier: PostgreSQL */
/*
 * access.h
 *		Who may see what, and what needs the library to be preloaded.
 */
#ifndef CPM_ACCESS_H
#define CPM_ACCESS_H

#include "fmgr.h"

/* As pg_stat_activity shows it in place of a query. */
#define CPM_HIDDEN_QUERY "<insufficient privilege>"

/* May the caller see the state, times, address and query of this role's sessions? */
extern bool cpm_may_see(Oid role);

/* May the caller see them of all roles? */
extern bool cpm_may_see_all(void);

/*
 * Fail with 42501 unless a view of ours calls the function, which its last argument proves
 * (view_pass.h), or the caller may read the whole view of that name in the function's schema.
 * Everybody may execute the functions behind views: PostgreSQL checks EXECUTE on the functions
 * in a view against the reader, not against the view's owner.
 */
extern void cpm_require_view(FunctionCallInfo fcinfo, const char *view);

/* Fail with 55000 unless the library is in shared_preload_libraries. */
extern void cpm_require_preloaded(const char *what);

#endif							/* CPM_ACCESS_H */
