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
 * Return true if the caller may see the state, times, address and query of the role's sessions,
 * because the caller has the privileges of that role or of pg_read_all_stats.
 */
extern bool cpm_may_see(Oid role);

/* Return true if cpm_may_see() is true for every role. */
extern bool cpm_may_see_all(void);

/*
 * Check that the caller may read the rows of a view. Returns if the last argument of the function
 * is the view pass (view_pass.h), because then a view calls the function and PostgreSQL has
 * checked the privileges on that view. Otherwise fails with 42501 unless the caller has SELECT on
 * the whole view, which is looked up by name in the function's schema, and with 42P01 if there is
 * no such view.
 *
 * This check replaces privileges on the functions. PostgreSQL checks EXECUTE on the functions in a
 * view against the reader, not against the view's owner, so EXECUTE is granted to PUBLIC.
 */
extern void cpm_require_view(FunctionCallInfo fcinfo, const char *view);

/* Fail with 55000 unless the library is preloaded. object names the caller in the message. */
extern void cpm_require_preloaded(const char *object);

#endif							/* CPM_ACCESS_H */
