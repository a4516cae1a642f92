/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_features.c
 *		Counts uses of features whose effect outlives the transaction, such as LISTEN.
 *
 * This module recognizes utility statements by their parse tree and function calls by
 * object_access_hook. The executor calls that hook when it prepares a call of a function or
 * operator, which may then run many times or never. So this module searches the plan for calls of
 * set_config() whose effect outlives the transaction, and counts advisory locks in the lock table
 * when the transaction has ended.
 *
 * Caveats: a set_config() without a plan, such as an assignment in PL/pgSQL, does not count. A use
 * that a rollback would undo counts when the transaction commits, even if ROLLBACK TO SAVEPOINT
 * has undone it. A transaction that calls a function for session-level advisory locks takes
 * partition locks of the lock table in shared mode when it ends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/session_feature.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "counters/backend_counters.h"
#include "hooks/session.h"
#include "hooks/session_features.h"
#include "hooks/session_progress.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "parser/scansup.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "utils/fmgroids.h"
#include "utils/resowner.h"

static object_access_hook_type previous_object_access;

/* Uses in this transaction, discarded if it rolls back */
static uint32 pending_uses[CPM_FEATURES];

/*
 * Estimates of the number of channels on which the session listens. A session that listens is idle
 * by design, so it is no leak suspect while it is idle. An estimate is too high if the session
 * repeats a LISTEN, and too low if ROLLBACK TO SAVEPOINT undid an UNLISTEN.
 */
static int	committed_channels; /* as of the last commit */
static int	channels;			/* after the current transaction, if it commits */

static int	advisory_locks;		/* number held by the session at the last count */
static bool locks_may_have_changed; /* since the last count */

static bool
survives_rollback(CpmFeature feature)
{
	return feature == CPM_FEATURE_SQL_PREPARE || feature == CPM_FEATURE_LOAD;
}

/*
 * Count uses of a feature, unless a login trigger used it. Such a trigger also runs in the
 * connections that a pooler opens, so transaction mode does not break it.
 */
static void
count_uses(CpmFeature feature, uint64 uses)
{
	if (cpm_session_was_ready())
		cpm_slot_count_feature(feature, uses, GetCurrentStatementStartTimestamp());
}

/* Count a use of a feature, at once or when the transaction commits. */
static void
record_use(CpmFeature feature)
{
	if (!cpm_slot_is_open())
		return;
	if (survives_rollback(feature))
	{
		count_uses(feature, 1);
		return;
	}
	pending_uses[feature]++;
	cpm_progress.pending |= CPM_FEATURES_PENDING;
}

/* Change the estimated number of channels, but not below 0, if the transaction commits. */
static void
adjust_channels(int difference)
{
	channels = Max(channels + difference, 0);
	cpm_progress.pending |= CPM_FEATURES_PENDING;
}

void
cpm_features_end_transaction(bool committed)
{
	for (int i = 0; i < CPM_FEATURES; i++)
	{
		if (committed && pending_uses[i] > 0)
			count_uses(i, pending_uses[i]);
		pending_uses[i] = 0;
	}
	if (committed)
	{
		committed_channels = channels;
		cpm_slot_set_idle_reason(CPM_FEATURE_LISTEN, channels > 0);
	}
	channels = committed_channels;
	cpm_progress.pending &= ~(CPM_FEATURES_PENDING | CPM_SET_CONFIG_SEEN);
}

/* Return true for a setting that PgBouncer restores when a client changes server connections. */
static bool
is_tracked_by_pgbouncer(const char *setting)
{
	static const char *const tracked[] = {
		"client_encoding", "DateStyle", "IntervalStyle", "TimeZone",
		"standard_conforming_strings", "application_name",
	};

	for (size_t i = 0; i < lengthof(tracked); i++)
		if (pg_strcasecmp(setting, tracked[i]) == 0)
			return true;
	return false;
}

/*
 * Return true if a SET or RESET outlives the transaction and PgBouncer does not restore the
 * setting. RESET ALL does not count, because poolers send it when a client releases a connection.
 */
static bool
changes_session_setting(const VariableSetStmt *statement)
{
	if (statement->is_local || statement->kind == VAR_RESET_ALL)
		return false;
	if (statement->kind == VAR_SET_MULTI)	/* SESSION CHARACTERISTICS or TRANSACTION */
		return strcmp(statement->name, "SESSION CHARACTERISTICS") == 0;
	if (statement->name == NULL || pg_strncasecmp(statement->name, "transaction_", 12) == 0)
		return false;			/* transaction_isolation and the like */
	return !is_tracked_by_pgbouncer(statement->name);
}

/* Return true if search_path begins with pg_temp, so that new objects are temporary. */
static bool
creates_in_temporary_schema(void)
{
	const char *path = namespace_search_path;

	while (*path == '"' || scanner_isspace(*path))
		path++;
	return pg_strncasecmp(path, "pg_temp", 7) == 0 && strchr(",\" \t\n", path[7]) != NULL;
}

static bool
is_temporary(const RangeVar *relation)
{
	if (relation == NULL)
		return false;
	if (relation->relpersistence == RELPERSISTENCE_TEMP)
		return true;
	return relation->schemaname != NULL ? strcmp(relation->schemaname, "pg_temp") == 0 :
		creates_in_temporary_schema();
}

/* Return true if a statement creates a temporary relation that outlives the transaction. */
static bool
leaves_temporary_relation(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateStmt:
			return is_temporary(((const CreateStmt *) statement)->relation) &&
				((const CreateStmt *) statement)->oncommit != ONCOMMIT_DROP;
		case T_CreateTableAsStmt:
			return is_temporary(((const CreateTableAsStmt *) statement)->into->rel) &&
				((const CreateTableAsStmt *) statement)->into->onCommit != ONCOMMIT_DROP;
		case T_ViewStmt:
			return is_temporary(((const ViewStmt *) statement)->view);
		case T_CreateSeqStmt:
			return is_temporary(((const CreateSeqStmt *) statement)->sequence);
		default:
			return false;
	}
}

/* Return the CpmFeature that a utility statement uses; -1 for none. */
static int
feature_used_by(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VariableSetStmt:
			return changes_session_setting((const VariableSetStmt *) statement) ?
				CPM_FEATURE_SET : -1;
		case T_ListenStmt:
			return CPM_FEATURE_LISTEN;
		case T_DeclareCursorStmt:
			return ((const DeclareCursorStmt *) statement)->options & CURSOR_OPT_HOLD ?
				CPM_FEATURE_WITH_HOLD_CURSOR : -1;
		case T_PrepareStmt:
			return CPM_FEATURE_SQL_PREPARE;
		case T_DeallocateStmt:	/* poolers send DEALLOCATE ALL */
			return ((const DeallocateStmt *) statement)->name ? CPM_FEATURE_SQL_PREPARE : -1;
		case T_LoadStmt:
			return CPM_FEATURE_LOAD;
		default:
			return leaves_temporary_relation(statement) ? CPM_FEATURE_TEMP_TABLE : -1;
	}
}

CpmFeatureUse
cpm_features_of_utility(const Node *statement)
{
	CpmFeatureUse use = {.feature = feature_used_by(statement)};

	if (IsA(statement, ListenStmt))
		use.channels = 1;
	else if (IsA(statement, UnlistenStmt))
		use.channels = ((const UnlistenStmt *) statement)->conditionname ? -1 : -PG_INT32_MAX;
	else if (IsA(statement, DiscardStmt) &&
			 ((const DiscardStmt *) statement)->target == DISCARD_ALL)
	{
		use.channels = -PG_INT32_MAX;
		use.releases_locks = true;
	}
	use.uses_feature = use.feature >= 0;
	return use;
}

void
cpm_features_count_utility(const CpmFeatureUse *use)
{
	if (use->uses_feature)
		record_use(use->feature);
	if (use->channels != 0 && cpm_slot_is_open())
		adjust_channels(use->channels);
	if (use->releases_locks)
		locks_may_have_changed = true;
}

/*
 * Get the value of a constant or an external parameter; returns false for NULL and for any other
 * expression, which only the executor can evaluate.
 */
static bool
get_known_value(const Node *expression, const QueryDesc *query, Datum *value)
{
	const ParamListInfo params = query->params;

	if (IsA(expression, RelabelType))
		expression = (const Node *) ((const RelabelType *) expression)->arg;
	if (IsA(expression, Const) && !((const Const *) expression)->constisnull)
	{
		*value = ((const Const *) expression)->constvalue;
		return true;
	}
	if (IsA(expression, Param) && params != NULL && params->paramFetch == NULL &&
		((const Param *) expression)->paramkind == PARAM_EXTERN &&
		((const Param *) expression)->paramid <= params->numParams &&
		!params->params[((const Param *) expression)->paramid - 1].isnull)
	{
		*value = params->params[((const Param *) expression)->paramid - 1].value;
		return true;
	}
	return false;
}

/*
 * Return true if a text value names a setting that PgBouncer restores. Detoasting would allocate,
 * so returns false for a toasted value.
 */
static bool
names_tracked_setting(Datum value)
{
	const struct varlena *text = (const struct varlena *) DatumGetPointer(value);
	char		name[NAMEDATALEN];

	if (VARATT_IS_COMPRESSED(text) || VARATT_IS_EXTERNAL(text) ||
		VARSIZE_ANY_EXHDR(text) >= sizeof(name))
		return false;
	memcpy(name, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	name[VARSIZE_ANY_EXHDR(text)] = '\0';
	return is_tracked_by_pgbouncer(name);
}

/*
 * Return true if the effect of set_config(name, value, is_local) outlives the transaction and
 * PgBouncer does not restore the setting. False if is_local is not known before execution.
 */
static bool
set_config_outlives_transaction(const FuncExpr *call, const QueryDesc *query)
{
	Datum		name;
	Datum		is_local;

	if (!get_known_value(lthird(call->args), query, &is_local) || DatumGetBool(is_local))
		return false;
	return !get_known_value(linitial(call->args), query, &name) || !names_tracked_setting(name);
}

/*
 * Return true if the stack has no room for one more call of expression_tree_walker(), which would
 * raise an error. That call may use more of the stack than this function, so allow a margin.
 */
static pg_noinline bool
stack_is_short(void)
{
	volatile char margin[8192];

	margin[0] = 0;
	return stack_is_too_deep() || margin[0] != 0;
}

/*
 * Expression tree walker: record each call of set_config() that counts. Stops rather than raise an
 * error in the user's statement if the expression is nested too deeply.
 */
static bool
set_config_walker(Node *node, void *arg)
{
	const QueryDesc *query = arg;

	if (node == NULL)
		return false;
	if (stack_is_short())
		return true;
	if (IsA(node, FuncExpr) && ((const FuncExpr *) node)->funcid == F_SET_CONFIG &&
		list_length(((const FuncExpr *) node)->args) == 3 &&
		set_config_outlives_transaction((const FuncExpr *) node, query))
		record_use(CPM_FEATURE_SET);
	return expression_tree_walker(node, set_config_walker, arg);
}

/*
 * Search the target lists, conditions and function scans of a plan. Ignore its other parts, such
 * as sort keys and join conditions, because calls of set_config() are implausible there.
 */
static void
scan_plan(const Plan *plan, const QueryDesc *query)
{
	void	   *arg = unconstify(QueryDesc *, query);
	ListCell   *cell;

	if (plan == NULL || stack_is_short())
		return;
	(void) set_config_walker((Node *) plan->targetlist, arg);
	(void) set_config_walker((Node *) plan->qual, arg);
	if (IsA(plan, FunctionScan))
		foreach(cell, ((const FunctionScan *) plan)->functions)
			(void) set_config_walker(lfirst(cell), arg);
	if (IsA(plan, SubqueryScan))
		scan_plan(((const SubqueryScan *) plan)->subplan, query);
	if (IsA(plan, Append))
		foreach(cell, ((const Append *) plan)->appendplans)
			scan_plan(lfirst(cell), query);
	scan_plan(plan->lefttree, query);
	scan_plan(plan->righttree, query);
}

void
cpm_features_scan_plan(const QueryDesc *query)
{
	const PlannedStmt *planned = query->plannedstmt;
	ListCell   *cell;

	cpm_progress.pending &= ~CPM_SET_CONFIG_SEEN;
	scan_plan(planned->planTree, query);
	foreach(cell, planned->subplans)
		scan_plan(lfirst(cell), query);
}

/* Return the number of advisory locks that this process holds. */
static int
count_advisory_locks(void)
{
	int			count = 0;

	for (int i = 0; i < NUM_LOCK_PARTITIONS; i++)
	{
		LWLock	   *lock = LockHashPartitionLockByIndex(i);

		/* safe without the lock, because other processes add no advisory locks to this list */
		if (cpm_next_own_lock(i, NULL) == NULL)
			continue;
		LWLockAcquire(lock, LW_SHARED);
		for (PROCLOCK *own = cpm_next_own_lock(i, NULL); own; own = cpm_next_own_lock(i, own))
			count += own->holdMask != 0 &&
				own->tag.myLock->tag.locktag_type == LOCKTAG_ADVISORY;
		LWLockRelease(lock);
	}
	return count;
}

/*
 * Resource release callback: count the advisory locks that the session holds. If it holds more
 * than at the last count, add the difference to the uses. PostgreSQL has released
 * transaction-level locks before the phase RESOURCE_RELEASE_AFTER_LOCKS.
 */
static void
cpm_count_advisory_locks(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	int			count;

	(void) is_commit;
	(void) arg;
	if (!locks_may_have_changed || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level ||
		!cpm_slot_is_open())
		return;
	locks_may_have_changed = false;
	count = count_advisory_locks();
	if (count > advisory_locks)
		count_uses(CPM_FEATURE_ADVISORY_LOCK, count - advisory_locks);
	cpm_slot_set_idle_reason(CPM_FEATURE_ADVISORY_LOCK, count > 0);
	advisory_locks = count;
}

/*
 * Make the resource release callback count the session's advisory locks at the end of the
 * transaction. The first call registers the callback. A session that calls no function for
 * session-level advisory locks does not register it, because PostgreSQL calls it several times in
 * each transaction.
 */
static void
expect_lock_change(void)
{
	static bool is_registered;

	if (!is_registered)
		RegisterResourceReleaseCallback(cpm_count_advisory_locks, NULL);
	is_registered = true;
	locks_may_have_changed = true;
}

/* The OIDs of the functions for session-level advisory locks are adjacent. */
#define FIRST_ADVISORY F_PG_ADVISORY_LOCK_INT8
#define LAST_ADVISORY F_PG_ADVISORY_UNLOCK_ALL

StaticAssertDecl(LAST_ADVISORY > FIRST_ADVISORY, "advisory lock OIDs out of order");

/*
 * Return true for a function whose calls this module examines. One comparison tests the range of
 * OIDs, because the difference wraps around for an OID below FIRST_ADVISORY.
 */
static inline bool
is_tracked_function(Oid function)
{
	return function - FIRST_ADVISORY <= LAST_ADVISORY - FIRST_ADVISORY || function == F_SET_CONFIG;
}

static pg_noinline void
handle_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (access == OAT_FUNCTION_EXECUTE && is_tracked_function(object) && cpm_slot_is_open())
	{
		if (object == F_SET_CONFIG)
			cpm_progress.pending |= CPM_SET_CONFIG_SEEN;
		else
			expect_lock_change();
	}
	if (previous_object_access)
		previous_object_access(access, class, object, sub, arg);
}

/* Only compare, because this hook runs for each function call that the executor prepares. */
static pg_attribute_hot void
cpm_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (unlikely(is_tracked_function(object) || access != OAT_FUNCTION_EXECUTE ||
				 previous_object_access))
		handle_object_access(access, class, object, sub, arg);
}

void
cpm_features_install(void)
{
	previous_object_access = object_access_hook;
	object_access_hook = cpm_object_access;
}
