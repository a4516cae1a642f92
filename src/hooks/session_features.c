/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_features.c
 *		Sees what this session does that outlives its transaction.
 *
 * Utility statements say it themselves. Functions are seen where the executor
 * prepares to call one, by object_access_hook: that is asked for the operators of
 * any query too, so it is two comparisons and no more. set_config() may be for
 * the transaction only, which its third argument tells: the plan is looked
 * through for it, but only a plan that was seen to have it. What calls it without a
 * plan, an assignment in PL/pgSQL, is not seen.
 *
 * What a rollback undoes counts when the transaction commits. What a savepoint
 * undoes counts all the same.
 *
 * Process-local; counts go to the pool of the own session (counters/backend_counters). Takes no
 * lock and raises nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/session_feature.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "counters/backend_counters.h"
#include "hooks/session_features.h"
#include "hooks/session_progress.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "parser/scansup.h"
#include "utils/fmgroids.h"

static object_access_hook_type previous_object_access;

/* Used in this transaction, and undone should it roll back. */
static uint32 pending_uses[CPM_FEATURES];

/* Channels listened to, and locks held, by how often that was said; at least as many as there are. */
static int	duties[CPM_FEATURES];

static bool
survives_rollback(CpmFeature feature)
{
	return feature == CPM_FEATURE_SQL_PREPARE || feature == CPM_FEATURE_LOAD ||
		feature == CPM_FEATURE_ADVISORY_LOCK;
}

/* For so many reasons more, or fewer, the session stays though it is idle. */
static void
change_duties(CpmFeature feature, int by)
{
	duties[feature] = Max(duties[feature] + by, 0);
	cpm_slot_note_duty(feature, duties[feature] > 0);
}

static void
count_uses(CpmFeature feature, uint64 uses)
{
	cpm_slot_count_feature(feature, uses, GetCurrentStatementStartTimestamp());
	if (feature == CPM_FEATURE_LISTEN || feature == CPM_FEATURE_ADVISORY_LOCK)
		change_duties(feature, (int) uses);
}

static void
note_use(CpmFeature feature)
{
	if (!cpm_slot_is_open())
		return;
	if (survives_rollback(feature))
	{
		count_uses(feature, 1);
		return;
	}
	pending_uses[feature]++;
	cpm_progress.unsettled |= CPM_FEATURES_PENDING;
}

void
cpm_features_transaction_ended(bool committed)
{
	for (int i = 0; i < CPM_FEATURES; i++)
	{
		if (committed && pending_uses[i] > 0)
			count_uses(i, pending_uses[i]);
		pending_uses[i] = 0;
	}
	cpm_progress.unsettled &= ~(CPM_FEATURES_PENDING | CPM_SET_CONFIG_SEEN);
}

/* Settings that PgBouncer carries from one server connection to the next. */
static bool
is_tracked(const char *setting)
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

/* RESET ALL is what pools say when they take a connection back: it sets nothing. */
static bool
sets_for_session(const VariableSetStmt *statement)
{
	if (statement->is_local || statement->kind == VAR_RESET_ALL)
		return false;
	if (statement->kind == VAR_SET_MULTI)	/* else of the transaction */
		return strcmp(statement->name, "SESSION CHARACTERISTICS") == 0;
	if (statement->name == NULL || pg_strncasecmp(statement->name, "transaction_", 12) == 0)
		return false;			/* transaction_isolation and the like */
	return !is_tracked(statement->name);
}

/* Does the search path begin with pg_temp, so that new objects go there? */
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

/* A table, view or sequence that stays when the transaction ends. */
static bool
leaves_temporary(const Node *statement)
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

/* The feature that a statement uses; -1 for none. */
static int
feature_of(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VariableSetStmt:
			return sets_for_session((const VariableSetStmt *) statement) ? CPM_FEATURE_SET : -1;
		case T_ListenStmt:
			return CPM_FEATURE_LISTEN;
		case T_DeclareCursorStmt:
			return ((const DeclareCursorStmt *) statement)->options & CURSOR_OPT_HOLD ?
				CPM_FEATURE_WITH_HOLD_CURSOR : -1;
		case T_PrepareStmt:
			return CPM_FEATURE_SQL_PREPARE;
		case T_DeallocateStmt:	/* ALL is what pools say */
			return ((const DeallocateStmt *) statement)->name ? CPM_FEATURE_SQL_PREPARE : -1;
		case T_LoadStmt:
			return CPM_FEATURE_LOAD;
		default:
			return leaves_temporary(statement) ? CPM_FEATURE_TEMP_TABLE : -1;
	}
}

CpmFeatureUse
cpm_features_of_utility(const Node *statement)
{
	CpmFeatureUse use = {.feature = feature_of(statement)};

	if (IsA(statement, UnlistenStmt))
		use.listens_less = ((const UnlistenStmt *) statement)->conditionname ? 1 : PG_INT32_MAX;
	else if (IsA(statement, DiscardStmt) && ((const DiscardStmt *) statement)->target == DISCARD_ALL)
	{
		use.listens_less = PG_INT32_MAX;
		use.ends_locks = true;
	}
	use.is_use = use.feature >= 0;
	return use;
}

void
cpm_features_utility_done(const CpmFeatureUse *use)
{
	if (use->is_use)
		note_use(use->feature);
	if (use->listens_less > 0 && cpm_slot_is_open())
		change_duties(CPM_FEATURE_LISTEN, -use->listens_less);
	if (use->ends_locks && cpm_slot_is_open())
		change_duties(CPM_FEATURE_ADVISORY_LOCK, -PG_INT32_MAX);
}

/* A constant or a parameter that has a value already; false when it is another expression. */
static bool
known_value(const Node *expression, const QueryDesc *query, Datum *value)
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

/* The same of a text, which must not have to be allocated for. */
static bool
is_tracked_text(Datum value)
{
	const struct varlena *text = (const struct varlena *) DatumGetPointer(value);
	char		name[NAMEDATALEN];

	if (VARATT_IS_COMPRESSED(text) || VARATT_IS_EXTERNAL(text) ||
		VARSIZE_ANY_EXHDR(text) >= sizeof(name))
		return false;
	memcpy(name, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	name[VARSIZE_ANY_EXHDR(text)] = '\0';
	return is_tracked(name);
}

/* set_config(name, value, is_local): for longer than the transaction, and not tracked? */
static bool
sets_config_for_session(const FuncExpr *call, const QueryDesc *query)
{
	Datum		name;
	Datum		is_local;

	if (!known_value(lthird(call->args), query, &is_local) || DatumGetBool(is_local))
		return false;
	return !known_value(linitial(call->args), query, &name) || !is_tracked_text(name);
}

static bool
note_set_config(Node *node, void *arg)
{
	const QueryDesc *query = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && ((const FuncExpr *) node)->funcid == F_SET_CONFIG &&
		list_length(((const FuncExpr *) node)->args) == 3 &&
		sets_config_for_session((const FuncExpr *) node, query))
		note_use(CPM_FEATURE_SET);
	return expression_tree_walker(node, note_set_config, arg);
}

/* Where a call can stand that somebody would write: what is selected, asked or read from. */
static void
look_at_plan(const Plan *plan, const QueryDesc *query)
{
	void	   *arg = unconstify(QueryDesc *, query);
	ListCell   *cell;

	if (plan == NULL)
		return;
	(void) note_set_config((Node *) plan->targetlist, arg);
	(void) note_set_config((Node *) plan->qual, arg);
	if (IsA(plan, FunctionScan))
		foreach(cell, ((const FunctionScan *) plan)->functions)
			(void) note_set_config(lfirst(cell), arg);
	if (IsA(plan, SubqueryScan))
		look_at_plan(((const SubqueryScan *) plan)->subplan, query);
	if (IsA(plan, Append))
		foreach(cell, ((const Append *) plan)->appendplans)
			look_at_plan(lfirst(cell), query);
	look_at_plan(plan->lefttree, query);
	look_at_plan(plan->righttree, query);
}

void
cpm_features_scan_plan(const QueryDesc *query)
{
	const PlannedStmt *planned = query->plannedstmt;
	ListCell   *cell;

	cpm_progress.unsettled &= ~CPM_SET_CONFIG_SEEN;
	look_at_plan(planned->planTree, query);
	foreach(cell, planned->subplans)
		look_at_plan(lfirst(cell), query);
}

static void
note_function(Oid function)
{
	if (!cpm_slot_is_open())
		return;
	switch (function)
	{
		case F_SET_CONFIG:
			cpm_progress.unsettled |= CPM_SET_CONFIG_SEEN;
			break;
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
			note_use(CPM_FEATURE_ADVISORY_LOCK);
			break;
		case F_PG_ADVISORY_UNLOCK_INT8:
		case F_PG_ADVISORY_UNLOCK_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT8:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4:
			change_duties(CPM_FEATURE_ADVISORY_LOCK, -1);
			break;
		case F_PG_ADVISORY_UNLOCK_ALL:
			change_duties(CPM_FEATURE_ADVISORY_LOCK, -PG_INT32_MAX);
			break;
		default:
			break;
	}
}

/* The functions of advisory locks have numbers side by side. */
#define FIRST_ADVISORY F_PG_ADVISORY_LOCK_INT8
#define LAST_ADVISORY F_PG_ADVISORY_UNLOCK_ALL

StaticAssertDecl(LAST_ADVISORY > FIRST_ADVISORY, "functions of advisory locks are in another order");

static inline bool
is_of_interest(Oid function)
{
	return function - FIRST_ADVISORY <= LAST_ADVISORY - FIRST_ADVISORY || function == F_SET_CONFIG;
}

static pg_noinline void
note_rare_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (access == OAT_FUNCTION_EXECUTE && is_of_interest(object))
		note_function(object);
	if (previous_object_access)
		previous_object_access(access, class, object, sub, arg);
}

/* Asked for each function that a statement prepares to call: a few comparisons, and nothing else. */
static pg_attribute_hot void
cpm_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (unlikely(is_of_interest(object) || access != OAT_FUNCTION_EXECUTE || previous_object_access))
		note_rare_access(access, class, object, sub, arg);
}

void
cpm_features_install(void)
{
	previous_object_access = object_access_hook;
	object_access_hook = cpm_object_access;
}
