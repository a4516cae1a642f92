/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_history_view.c
 *		connpool_session_history(): the busy sessions of each sample.
 *		connpool_load(): the average number of busy sessions, by pool, wait and statement.
 *
 * Both decode the segments of the session history one at a time, so their memory is bounded by the
 * result.
 *
 * Like pg_stat_activity, both hide the activity of sessions that the caller may not see.
 */
#include "postgres.h"

#include "base/history_segment.h"
#include "base/pool.h"
#include "base/settings.h"
#include "base/wait_class.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/query_texts.h"
#include "functions/recorded_load.h"
#include "functions/rows.h"
#include "miscadmin.h"
#include "samples/session_history.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(connpool_session_history_1_0);
PG_FUNCTION_INFO_V1(connpool_load_1_0);

/* The state of reading the history, for both functions */
typedef struct HistoryReading
{
	TimestampTz since;
	TimestampTz until;
	bool		sees_all;		/* the caller may see the sessions of all roles */
	ReturnSetInfo *result;
	CpmRow		row;
	HTAB	   *texts;			/* of functions/query_texts */

	/* used by connpool_session_history() only */
	CpmSegmentReader *segment;	/* reads the current segment */
	MemoryContext context;		/* reset after each sample */
} HistoryReading;

static void
require_history(const char *function)
{
	cpm_require_preloaded(function);
	if (!cpm_session_history_is_on())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs connpool_monitor.session_history_size to be above 0", function),
				 errhint("Set it to the size that the file may have, for instance 64MB, "
						 "and restart the server.")));
}

/*
 * Initialize the state. If the saver is still reading the file after a start of the server, waits
 * for it up to a second, and warns if samples may still be missing.
 */
static void
begin_reading(HistoryReading *reading, FunctionCallInfo fcinfo)
{
	reading->since = PG_ARGISNULL(0) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(0);
	reading->until = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	reading->sees_all = cpm_may_see_all();
	reading->result = cpm_rows_begin(fcinfo);
	reading->segment = palloc(sizeof(CpmSegmentReader));
	reading->context = AllocSetContextCreate(CurrentMemoryContext, "connpool_monitor history",
											 ALLOCSET_DEFAULT_SIZES);
	reading->texts = cpm_query_texts_create();
	cpm_session_history_await_file();
}

static bool
is_in_span(const HistoryReading *reading, const CpmHistorySample *sample)
{
	return sample->at >= reading->since && sample->at <= reading->until;
}

static bool
is_visible(const HistoryReading *reading, const CpmHistoryNames *names)
{
	return reading->sees_all || cpm_may_see(names->role_oid);
}

/* Return the recorded names. Looks up missing ones by OID; a name is empty if that fails, too. */
static CpmHistoryNames
resolved_names(const CpmSegmentReader *segment, uint16 number)
{
	CpmHistoryNames names = cpm_segment_names(segment, number);
	const char *found;

	if (names.database[0] == '\0' && (found = get_database_name(names.database_oid)) != NULL)
		names.database = found;
	if (names.role[0] == '\0' && (found = GetUserNameFromId(names.role_oid, true)) != NULL)
		names.role = found;
	return names;
}

static void
add_age(CpmRow *row, uint32 age)
{
	if (age == CPM_NO_AGE)
		cpm_row_null(row);
	else
		cpm_row_interval(row, cpm_unpack_age(age));
}

/* Return the queryid of a row; 0 if it has none. */
static uint64
queryid_of(const HistoryReading *reading, const CpmHistoryRow *recorded)
{
	return recorded->queryid != 0 ? cpm_segment_queryid(reading->segment, recorded->queryid) : 0;
}

/* Add the columns from client_addr to root_blocker. */
static void
add_recorded_activity(HistoryReading *reading, const CpmHistoryRow *recorded,
					  const CpmHistoryNames *names)
{
	CpmRow	   *row = &reading->row;
	uint64		queryid = queryid_of(reading, recorded);
	SockAddr	address = {0};
	CpmHistoryWaitEvent event = {0};

	if (recorded->address != 0)
		address = cpm_segment_address(reading->segment, recorded->address);
	if (recorded->wait_event != 0)
		event = cpm_segment_wait_event(reading->segment, recorded->wait_event);
	cpm_row_address(row, &address);
	cpm_row_state(row, recorded->state);
	cpm_row_text(row, event.type);
	cpm_row_text(row, event.name);
	add_age(row, recorded->state_age);
	add_age(row, recorded->xact_age);
	cpm_row_int8_if(row, queryid != 0, (int64) queryid);
	cpm_row_query(row, cpm_query_text(reading->texts, names->database_oid, names->role_oid,
									  queryid), names->database_oid);
	cpm_row_int4_if(row, recorded->root_blocker != CPM_NO_ROOT_BLOCKER, recorded->root_blocker);
}

/* Add the columns from client_addr to root_blocker, redacted as in pg_stat_activity. */
static void
add_hidden_activity(CpmRow *row)
{
	for (int i = 0; i < 7; i++)
		cpm_row_null(row);
	cpm_row_text(row, CPM_HIDDEN_QUERY);
	cpm_row_null(row);
}

static void
emit_recorded_session(HistoryReading *reading, TimestampTz at, const CpmHistoryRow *recorded)
{
	CpmRow	   *row = &reading->row;
	CpmHistoryNames names = resolved_names(reading->segment, recorded->names);

	cpm_row_timestamptz(row, at);
	cpm_row_int4(row, recorded->pid);
	cpm_row_nonempty_text(row, names.database);
	cpm_row_nonempty_text(row, names.role);
	cpm_row_text(row, names.application_name);
	if (is_visible(reading, &names))
		add_recorded_activity(reading, recorded, &names);
	else
		add_hidden_activity(row);
	cpm_row_emit(row, reading->result);
}

/* Emit the sessions of a segment. */
static void
emit_segment(const char *bytes, uint32 used, void *arg)
{
	HistoryReading *reading = arg;
	MemoryContext old_context = MemoryContextSwitchTo(reading->context);
	CpmHistorySample sample;

	cpm_segment_begin(reading->segment, bytes, used);
	while (cpm_segment_next(reading->segment, &sample))
	{
		if (!is_in_span(reading, &sample))
			continue;
		for (int i = 0; i < sample.count; i++)
			emit_recorded_session(reading, sample.at, &sample.row[i]);
		MemoryContextReset(reading->context);
	}
	MemoryContextSwitchTo(old_context);
}

/* Request the texts of the statements in a segment that the caller may see. */
static void
request_segment_texts(const char *bytes, uint32 used, void *arg)
{
	HistoryReading *reading = arg;
	CpmHistorySample sample;

	cpm_segment_begin(reading->segment, bytes, used);
	while (cpm_segment_next(reading->segment, &sample))
	{
		for (int i = 0; is_in_span(reading, &sample) && i < sample.count; i++)
		{
			const CpmHistoryRow *recorded = &sample.row[i];
			CpmHistoryNames names = cpm_segment_names(reading->segment, recorded->names);

			if (recorded->queryid != 0 && is_visible(reading, &names))
				cpm_query_texts_request(reading->texts, names.database_oid, names.role_oid,
										queryid_of(reading, recorded));
		}
	}
}

/*
 * connpool_session_history(since timestamptz, until timestamptz). Columns: sample_time, pid,
 * database, role, application_name, client_addr, state, wait_event_type, wait_event, state_age,
 * xact_age, queryid, query, root_blocker.
 */
Datum
connpool_session_history_1_0(PG_FUNCTION_ARGS)
{
	HistoryReading reading = {0};

	require_history("connpool_session_history()");
	begin_reading(&reading, fcinfo);
	cpm_session_history_scan(reading.since, reading.until, request_segment_texts, &reading);
	cpm_query_texts_read(reading.texts);
	cpm_session_history_scan(reading.since, reading.until, emit_segment, &reading);
	return (Datum) 0;
}

#define HIDDEN_CLASS CPM_WAIT_CLASSES	/* of sessions that the caller may not see */

/* A CpmRecordedLoadKeyOf, whose argument is a HistoryReading. */
static CpmRecordedLoadKey
key_of_load(const CpmSegmentReader *segment, const CpmHistoryRow *recorded, void *arg)
{
	const HistoryReading *reading = arg;
	CpmHistoryNames names = resolved_names(segment, recorded->names);
	CpmRecordedLoadKey key;

	memset(&key, 0, sizeof(key));
	key.database = names.database_oid;
	key.role = names.role_oid;
	key.wait_class = HIDDEN_CLASS;
	strlcpy(key.pool.database, names.database, NAMEDATALEN);
	strlcpy(key.pool.role, names.role, NAMEDATALEN);
	cpm_pool_application(key.pool.application_name, names.application_name,
						 cpm_application_grouping);
	if (!is_visible(reading, &names))
		return key;
	key.wait_class = recorded->wait_class;
	if (recorded->queryid != 0)
		key.queryid = cpm_segment_queryid(segment, recorded->queryid);
	if (recorded->wait_event != 0)
		strlcpy(key.wait_event, cpm_segment_wait_event(segment, recorded->wait_event).name,
				NAMEDATALEN);
	return key;
}

static void
emit_recorded_load(HistoryReading *reading, const CpmRecordedLoad *load,
				   const CpmRecordedLoadSum *sum)
{
	CpmRow	   *row = &reading->row;
	const CpmRecordedLoadKey *key = &sum->key;
	bool		is_hidden = key->wait_class == HIDDEN_CLASS;

	cpm_row_nonempty_text(row, key->pool.database);
	cpm_row_nonempty_text(row, key->pool.role);
	cpm_row_text(row, key->pool.application_name);
	cpm_row_text(row, is_hidden ? NULL : cpm_wait_class_name(key->wait_class));
	cpm_row_nonempty_text(row, key->wait_event);
	cpm_row_int8_if(row, key->queryid != 0, (int64) key->queryid);
	if (is_hidden)
		cpm_row_text(row, CPM_HIDDEN_QUERY);
	else
		cpm_row_query(row, cpm_query_text(reading->texts, key->database, key->role, key->queryid),
					  key->database);
	cpm_row_float8(row, (double) sum->busy_us / (double) load->observed_us);
	cpm_row_float8(row, (double) sum->busy_us / (double) load->busy_us);
	cpm_row_emit(row, reading->result);
}

/*
 * connpool_load(since timestamptz, until timestamptz). Columns: database, role, application_name,
 * wait_class, wait_event, queryid, query, avg_sessions, share.
 */
Datum
connpool_load_1_0(PG_FUNCTION_ARGS)
{
	HistoryReading reading = {0};
	CpmRecordedLoad load;
	CpmRecordedLoadSum **sums;
	int64		count;

	require_history("connpool_load()");
	begin_reading(&reading, fcinfo);
	cpm_recorded_load_begin(&load, reading.since, reading.until, key_of_load, &reading);
	cpm_session_history_scan(load.since, load.until, cpm_recorded_load_add, &load);
	sums = cpm_recorded_load_sums(&load, &count);
	for (int64 i = 0; i < count; i++)
		cpm_query_texts_request(reading.texts, sums[i]->key.database, sums[i]->key.role,
								sums[i]->key.queryid);
	cpm_query_texts_read(reading.texts);
	for (int64 i = 0; i < count; i++)
		emit_recorded_load(&reading, &load, sums[i]);
	return (Datum) 0;
}
