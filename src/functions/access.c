/* SPDX-License-Identifier: PostgreSQL */
/*
 * access.c
 *		Checks the caller's privileges, and that the library is preloaded.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "functions/access.h"
#include "functions/view_pass.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

bool
cpm_may_see_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

bool
cpm_may_see(Oid role)
{
	return cpm_may_see_all() || has_privs_of_role(GetUserId(), role);
}

void
cpm_require_view(FunctionCallInfo fcinfo, const char *view)
{
	int			last = PG_NARGS() - 1;
	Oid			schema;
	Oid			relation;

	if (!PG_ARGISNULL(last) && cpm_is_view_pass(PG_GETARG_INT64(last)))
		return;
	schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	relation = get_relname_relid(view, schema);
	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("view \"%s\" does not exist in the schema of extension \"%s\"",
						view, "connpool_monitor")));
	if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, view);
}

void
cpm_require_preloaded(const char *object)
{
	if (!cpm_is_preloaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs connpool_monitor to be preloaded", object),
				 errhint("Add connpool_monitor to shared_preload_libraries "
						 "and restart the server.")));
}
