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
 * Fail unless the caller may read the view of that name in the function's own
 * schema. Functions behind views are executable by everybody and ask this, so
 * that GRANT SELECT on the view is all that a user needs: PostgreSQL checks
 * EXECUTE on a view's functions against the caller, not against the owner.
 */
extern void cpm_require_view(FunctionCallInfo fcinfo, const char *view);

/* Fail with 55000 unless the library is in shared_preload_libraries. */
extern void cpm_require_preloaded(const char *what);

#endif							/* CPM_ACCESS_H */
