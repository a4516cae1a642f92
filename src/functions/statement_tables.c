/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_tables.c
 *		The tables that a statement names, in this database: how large they are, how
 *		often they are written.
 *
 * A name without a schema was found along the search path of the role that ran
 * the statement, which may not be the path of who asks. It is taken for the
 * table of that name when there is but one.
 */
#include "postgres.h"

#include "access/htup.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "functions/statement_tables.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static bool
is_table_like(char kind)
{
	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE ||
		kind == RELKIND_MATVIEW || kind == RELKIND_VIEW || kind == RELKIND_FOREIGN_TABLE ||
		kind == RELKIND_SEQUENCE;
}

/* The only one of that name; InvalidOid of none and of several. Temporary ones are not asked for. */
static Oid
only_table_named(const char *name)
{
	CatCList   *list = SearchSysCacheList1(RELNAMENSP, CStringGetDatum(name));
	Oid			found = InvalidOid;
	int			count = 0;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_class relation = (Form_pg_class) GETSTRUCT(&list->members[i]->tuple);

		if (!is_table_like(relation->relkind) ||
			relation->relpersistence == RELPERSISTENCE_TEMP)
			continue;
		found = relation->oid;
		count++;
	}
	ReleaseSysCacheList(list);
	return count == 1 ? found : InvalidOid;
}

/* Not by RangeVarGetRelid(), which raises an error where the caller may not use the schema. */
static Oid
find_table(const RangeVar *name)
{
	Oid			schema;
	Oid			table;

	if (name->catalogname != NULL &&
		strcmp(name->catalogname, get_database_name(MyDatabaseId)) != 0)
		return InvalidOid;
	if (name->schemaname != NULL)
	{
		schema = LookupNamespaceNoError(name->schemaname);
		return OidIsValid(schema) ? get_relname_relid(name->relname, schema) : InvalidOid;
	}
	table = get_relname_relid(name->relname, PG_CATALOG_NAMESPACE);
	return OidIsValid(table) ? table : only_table_named(name->relname);
}

/* Add one table's, not its partitions'. False when it has none that can be known. */
static bool
add_numbers(Oid table, CpmTableNumbers *sum)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	char		kind;
	double		tuples;

	if (!HeapTupleIsValid(tuple))
		return false;
	kind = ((Form_pg_class) GETSTRUCT(tuple))->relkind;
	tuples = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
	ReleaseSysCache(tuple);
	if (kind == RELKIND_PARTITIONED_TABLE)
		return true;
	if (kind != RELKIND_RELATION && kind != RELKIND_MATVIEW)
		return false;

	sum->tuples = tuples < 0 || sum->tuples < 0 ? -1 : sum->tuples + tuples;
	sum->writes +=
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_inserted, ObjectIdGetDatum(table))) +
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_updated, ObjectIdGetDatum(table))) +
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_deleted, ObjectIdGetDatum(table)));
	return true;
}

CpmTableNumbers
cpm_table_numbers(const List *tables)
{
	const CpmTableNumbers unknown = {.tuples = -1, .writes = -1};
	CpmTableNumbers sum = {0};
	List	   *counted = NIL;
	ListCell   *cell;

	foreach(cell, tables)
	{
		Oid			table = find_table(lfirst_node(RangeVar, cell));

		if (!OidIsValid(table))
			return unknown;
		counted = list_concat_unique_oid(counted, find_all_inheritors(table, NoLock, NULL));
	}
	foreach(cell, counted)
		if (!add_numbers(lfirst_oid(cell), &sum))
		return unknown;
	return sum;
}
