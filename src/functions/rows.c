/* SPDX-License-Identifier: PostgreSQL */
/*
 * rows.c
 *		Builds the rows of set-returning functions, column by column.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "base/compat.h"
#include "base/sample.h"
#include "base/set_back.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/ip.h"
#include "funcapi.h"
#include "functions/access.h"
#include "functions/foreign_text.h"
#include "functions/rows.h"
#include "miscadmin.h"
#include "rules/policy.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

ReturnSetInfo *
cpm_rows_begin(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, 0);
	return (ReturnSetInfo *) fcinfo->resultinfo;
}

ReturnSetInfo *
cpm_view_begin(FunctionCallInfo fcinfo, const char *view)
{
	cpm_require_view(fcinfo, view);
	cpm_require_preloaded(view);
	return cpm_rows_begin(fcinfo);
}

ReturnSetInfo *
cpm_lines_begin(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	return (ReturnSetInfo *) fcinfo->resultinfo;
}

void
cpm_row_emit(CpmRow *row, ReturnSetInfo *result)
{
	if (row->count != result->setDesc->natts)
		elog(ERROR, "connpool_monitor: a row has %d columns, its function %d",
			 row->count, result->setDesc->natts);
	/* results may be long, so let the user cancel */
	CHECK_FOR_INTERRUPTS();
	tuplestore_putvalues(result->setResult, result->setDesc, row->values, row->nulls);
	for (int i = 0; i < row->count; i++)
		if (!row->nulls[i] && !TupleDescAttr(result->setDesc, i)->attbyval)
			pfree(DatumGetPointer(row->values[i]));
	row->count = 0;
}

static void
add_column(CpmRow *row, Datum value, bool isnull)
{
	if (row->count >= CPM_MAX_COLUMNS)
		elog(ERROR, "connpool_monitor: a row has more than %d columns", CPM_MAX_COLUMNS);
	row->values[row->count] = value;
	row->nulls[row->count] = isnull;
	row->count++;
}

void
cpm_row_null(CpmRow *row)
{
	add_column(row, (Datum) 0, true);
}

void
cpm_row_bool(CpmRow *row, bool value)
{
	add_column(row, BoolGetDatum(value), false);
}

void
cpm_row_int4(CpmRow *row, int32 value)
{
	cpm_row_int4_if(row, true, value);
}

void
cpm_row_int4_if(CpmRow *row, bool is_known, int32 value)
{
	add_column(row, Int32GetDatum(value), !is_known);
}

void
cpm_row_int8(CpmRow *row, int64 value)
{
	cpm_row_int8_if(row, true, value);
}

void
cpm_row_int8_if(CpmRow *row, bool is_known, int64 value)
{
	add_column(row, Int64GetDatum(value), !is_known);
}

void
cpm_row_oid(CpmRow *row, Oid value)
{
	add_column(row, ObjectIdGetDatum(value), false);
}

void
cpm_row_float8(CpmRow *row, double value)
{
	add_column(row, Float8GetDatum(value), !cpm_is_number(value));
}

void
cpm_row_bound(CpmRow *row, double value)
{
	add_column(row, Float8GetDatum(value), isnan(value));
}

void
cpm_row_text(CpmRow *row, const char *value)
{
	if (value == NULL)
		cpm_row_null(row);
	else
		add_column(row, CStringGetTextDatum(cpm_text_for_client(value)), false);
}

void
cpm_row_nonempty_text(CpmRow *row, const char *value)
{
	cpm_row_text(row, value[0] != '\0' ? value : NULL);
}

void
cpm_row_query(CpmRow *row, const char *query, Oid database)
{
	MemoryContext context;
	MemoryContext old_context;

	if (query == NULL)
	{
		cpm_row_null(row);
		return;
	}
	/* free the intermediate copies, because a query may be long and occur in many rows */
	context = AllocSetContextCreate(CurrentMemoryContext, "connpool_monitor query",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	query = cpm_text_for_client(cpm_text_to_server(query, cpm_database_encoding(database)));
	MemoryContextSwitchTo(old_context);
	add_column(row, CStringGetTextDatum(query), false);
	MemoryContextDelete(context);
}

void
cpm_row_timestamptz(CpmRow *row, TimestampTz value)
{
	add_column(row, TimestampTzGetDatum(value), value == 0);
}

void
cpm_row_past_time(CpmRow *row, TimestampTz value)
{
	cpm_row_timestamptz(row, cpm_past_time(value));
}

void
cpm_row_age(CpmRow *row, TimestampTz now, TimestampTz since)
{
	if (since == 0)
		cpm_row_null(row);
	else
		add_column(row, DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(Max(now, since)),
											TimestampTzGetDatum(since)), false);
}

void
cpm_row_int4_array(CpmRow *row, const int *values, int count)
{
	Datum	   *elements = palloc((count + 1) * sizeof(Datum));
	ArrayType  *array;

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum(values[i]);
	array = construct_array(elements, count, INT4OID, sizeof(int32), true, TYPALIGN_INT);
	add_column(row, PointerGetDatum(array), false);
	pfree(elements);
}

void
cpm_row_text_array(CpmRow *row, const char *const *values, int count)
{
	Datum	   *elements = palloc((count + 1) * sizeof(Datum));
	ArrayType  *array;

	for (int i = 0; i < count; i++)
		elements[i] = CStringGetTextDatum(cpm_text_for_client(values[i]));
	array = construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT);
	add_column(row, PointerGetDatum(array), false);
	pfree(elements);
}

void
cpm_row_violations(CpmRow *row, unsigned int violations)
{
	const char *names[CPM_VIOLATIONS];
	int			count = 0;

	for (int i = 0; i < CPM_VIOLATIONS; i++)
		if (violations & (1U << i))
			names[count++] = cpm_violation_name(i);
	cpm_row_text_array(row, names, count);
}

void
cpm_row_address(CpmRow *row, const SockAddr *address)
{
	char		host[NI_MAXHOST] = "";

	if ((address->addr.ss_family != AF_INET && address->addr.ss_family != AF_INET6) ||
		pg_getnameinfo_all(&address->addr, address->salen, host, sizeof(host), NULL, 0,
						   NI_NUMERICHOST) != 0)
	{
		cpm_row_null(row);
		return;
	}
	clean_ipv6_addr(address->addr.ss_family, host);
	add_column(row, DirectFunctionCall1(inet_in, CStringGetDatum(host)), false);
}

void
cpm_row_state(CpmRow *row, CpmState state)
{
	cpm_row_text(row, cpm_state_name(state));
}

void
cpm_row_interval(CpmRow *row, int64 milliseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = milliseconds * 1000;
	add_column(row, IntervalPGetDatum(interval), false);
}

void
cpm_row_database(CpmRow *row, Oid database)
{
	cpm_row_text(row, OidIsValid(database) ? get_database_name(database) : NULL);
}

void
cpm_row_role(CpmRow *row, Oid role)
{
	cpm_row_text(row, OidIsValid(role) ? GetUserNameFromId(role, true) : NULL);
}

void
cpm_row_lock_type(CpmRow *row, const LOCKTAG *lock)
{
	bool		is_known = lock->locktag_lockmethodid != 0 &&
		lock->locktag_type <= LOCKTAG_LAST_TYPE;

	cpm_row_text(row, is_known ? LockTagTypeNames[lock->locktag_type] : NULL);
}

void
cpm_row_lock_mode(CpmRow *row, const LOCKTAG *lock, LOCKMODE mode)
{
	cpm_row_text(row, lock->locktag_lockmethodid != 0 ?
				 GetLockmodeName(lock->locktag_lockmethodid, mode) : NULL);
}

/*
 * Return the relation that is locked, or that contains the locked page or row; InvalidOid for
 * another kind of object, and for a relation of another database.
 */
static Oid
locked_relation(const LOCKTAG *lock)
{
	switch ((LockTagType) lock->locktag_type)
	{
		case LOCKTAG_RELATION:
		case LOCKTAG_RELATION_EXTEND:
		case LOCKTAG_PAGE:
		case LOCKTAG_TUPLE:
			break;
		default:
			return InvalidOid;
	}
	if (lock->locktag_field1 != MyDatabaseId && lock->locktag_field1 != InvalidOid)
		return InvalidOid;
	return lock->locktag_field2;
}

void
cpm_row_locked_relation(CpmRow *row, const LOCKTAG *lock)
{
	Oid			relation = locked_relation(lock);

	if (OidIsValid(relation))
		cpm_row_text(row, DatumGetCString(DirectFunctionCall1(regclassout,
															  ObjectIdGetDatum(relation))));
	else
		cpm_row_null(row);
}
