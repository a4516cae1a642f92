/* SPDX-License-Identifier: PostgreSQL */
/*
 * statement_tables.c
 *		Returns the sizes and write counters of the tables that a statement names.
 *
 * The search_path of the session that ran the statement is unknown, so an unqualified name can be
 * ambiguous. It resolves to the table of pg_catalog with that name, otherwise to the only table in
 * the database with that name. If several tables have the name, it is not resolved.
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

/* Return the only permanent table with that name; InvalidOid if there are none or several. */
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

/*
 * Return the table of that name; InvalidOid if it cannot be found. Does not use
 * RangeVarGetRelid(), because that raises an error if the caller lacks USAGE on the schema.
 */
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

/*
 * Add the tuples and writes of one table, without its children; nothing for a partitioned table,
 * which has no rows of its own. Returns false if the relation was dropped, or is of a kind that
 * has no such statistics.
 */
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
