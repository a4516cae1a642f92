/* SPDX-License-Identifier: PostgreSQL */
/*
 * view_pass.c
 *		The value by which a function behind a view recognizes a call from that view.
 *
 * PostgreSQL checks privileges on the relations in a view against the view's owner, but EXECUTE
 * on the functions against the reader. So a reader of a view may also call its function, and the
 * function runs as the same user in both cases. To distinguish them, each view reads the pass from
 * the foreign table _connpool_view_pass and passes it to its function. The table has a row only
 * for a view that a superuser owns. For all other queries it is empty, whatever the privileges of
 * the user, even a superuser's.
 *
 * The pass is random, so that it cannot be guessed, and differs between processes, so that a
 * stored pass is useless. The functions are PARALLEL RESTRICTED, so that they run in the process
 * that generated it. A superuser must not create a view that shows it.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "functions/view_pass.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "nodes/pathnodes.h"
#include "nodes/pg_list.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(connpool_view_pass_1_0);

static int64 pass;
static bool has_pass = false;

bool
cpm_is_view_pass(int64 value)
{
	return has_pass && value == pass;
}

static void
pass_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	(void) root;
	(void) table;
	rel->rows = 1;
}

static void
pass_paths(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	(void) table;
	add_path(rel, (Path *) cpm_foreign_scan_path(root, rel));
}

/*
 * Store in the plan the role whose privileges on the table PostgreSQL checks: the owner of the
 * view that reads the table, or InvalidOid, which stands for the current user, if no view reads
 * it.
 */
static ForeignScan *
pass_plan(PlannerInfo *root, RelOptInfo *rel, Oid table, ForeignPath *path, List *targets,
		  List *clauses, Plan *outer)
{
	(void) root;
	(void) table;
	(void) path;
	return make_foreignscan(targets, extract_actual_clauses(clauses, false), rel->relid, NIL,
							list_make1_oid(rel->userid), NIL, NIL, outer);
}

/* Return true if the scan may return the pass. Generates the pass at the first such scan. */
static bool
may_pass(ForeignScanState *scan)
{
	Oid			checked_as = linitial_oid(((ForeignScan *) scan->ss.ps.plan)->fdw_private);
	TupleDesc	columns = RelationGetDescr(scan->ss.ss_currentRelation);

	if (!OidIsValid(checked_as) || !superuser_arg(checked_as))
		return false;
	/* the table may have been altered */
	if (columns->natts != 1 || TupleDescAttr(columns, 0)->atttypid != INT8OID)
		return false;
	has_pass = has_pass || pg_strong_random(&pass, sizeof(pass));
	return has_pass;
}

/* fdw_state points to the pass until the scan has returned its row. */
static void
pass_rescan(ForeignScanState *scan)
{
	scan->fdw_state = may_pass(scan) ? &pass : NULL;
}

static void
pass_begin(ForeignScanState *scan, int flags)
{
	(void) flags;
	pass_rescan(scan);
}

static TupleTableSlot *
pass_next(ForeignScanState *scan)
{
	TupleTableSlot *slot = scan->ss.ss_ScanTupleSlot;

	ExecClearTuple(slot);
	if (scan->fdw_state == NULL)
		return slot;
	scan->fdw_state = NULL;
	slot->tts_values[0] = Int64GetDatum(pass);
	slot->tts_isnull[0] = false;
	return ExecStoreVirtualTuple(slot);
}

static void
pass_end(ForeignScanState *scan)
{
	(void) scan;
}

/* The handler of the foreign-data wrapper _connpool_view_pass. */
Datum
connpool_view_pass_1_0(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	(void) fcinfo;
	routine->GetForeignRelSize = pass_rel_size;
	routine->GetForeignPaths = pass_paths;
	routine->GetForeignPlan = pass_plan;
	routine->BeginForeignScan = pass_begin;
	routine->IterateForeignScan = pass_next;
	routine->ReScanForeignScan = pass_rescan;
	routine->EndForeignScan = pass_end;
	PG_RETURN_POINTER(routine);
}
