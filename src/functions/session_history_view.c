/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_history_view.c
 *		connpool_session_history(): the busy sessions of each sample.
 *		connpool_load(): the average number of busy sessions, by pool, wait and statement.
 *
 * Both decode the segments of the session history one at a time, so their memory is bounded by the
 * result. connpool_load() first sums the rows of a segment by their references, and then adds
 * these few sums to the result.
 *
 * A sample represents the time since the previous one, but at most two intervals, so a time
 * without samples (the server was down) counts as unobserved rather than as idle.
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
#include "functions/rows.h"
#include "miscadmin.h"
#include "samples/session_history.h"
#include "utils/hsearch.h"
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
	CpmSegmentReader *segment;	/* the present segment */
	MemoryContext context;		/* reset after each segment */
	HTAB	   *texts;			/* of functions/query_texts */
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

/* Wait for the file if the server has just started, and begin. */
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

/* Return the names; those that were not recorded are looked up, and empty if that fails. */
static CpmHistoryNames
resolved_names(const HistoryReading *reading, uint16 number)
{
	CpmHistoryNames names = cpm_segment_names(reading->segment, number);
	const char *found;

	if (names.database[0] == '\0' && (found = get_database_name(names.database_oid)) != NULL)
		names.database = found;
	if (names.role[0] == '\0' && (found = GetUserNameFromId(names.role_oid, true)) != NULL)
		names.role = found;
	return names;
}

/* Add a name; NULL if it is empty. */
static void
add_name(CpmRow *row, const char *name)
{
	cpm_row_text(row, name[0] != '\0' ? name : NULL);
}

static void
add_age(CpmRow *row, uint32 age)
{
	if (age == CPM_NO_AGE)
		cpm_row_null(row);
	else
		cpm_row_interval(row, cpm_unpack_age(age));
}

static void
add_queryid(CpmRow *row, uint64 queryid)
{
	if (queryid == 0)
		cpm_row_null(row);
	else
		cpm_row_int8(row, (int64) queryid);
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
	add_queryid(row, queryid);
	cpm_row_query(row, cpm_query_text(reading->texts, names->database_oid, names->role_oid,
									  queryid), names->database_oid);
	if (recorded->root_blocker == CPM_NO_ROOT_BLOCKER)
		cpm_row_null(row);
	else
		cpm_row_int4(row, recorded->root_blocker);
}

/* Add the columns from client_addr to root_blocker as pg_stat_activity hides them. */
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
	CpmHistoryNames names = resolved_names(reading, recorded->names);

	cpm_row_timestamptz(row, at);
	cpm_row_int4(row, recorded->pid);
	add_name(row, names.database);
	add_name(row, names.role);
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

/* A pool of the result; hashed as bytes, without padding. */
typedef struct LoadPool
{
	CpmPoolName name;
	Oid			database;
	Oid			role;
} LoadPool;

/*
 * A pool, wait and statement; hashed as bytes, without padding. Each pool and name of a wait event
 * is in a hash table once, so that this key is short.
 */
typedef struct LoadKey
{
	const LoadPool *pool;
	const char *wait_event;		/* NULL: none */
	uint64		queryid;
	uint64		wait_class;		/* a CpmWaitClass, or HIDDEN_CLASS */
} LoadKey;

#define HIDDEN_CLASS CPM_WAIT_CLASSES	/* the caller may not see what the session did */

typedef struct Load
{
	LoadKey		key;			/* hash key */
	int64		busy_us;		/* summed over sessions */
} Load;

/* The sum of the rows of a segment that have the same references */
typedef struct SegmentLoad
{
	uint64		references;		/* of a row, never 0; 0: free */
	int64		busy_us;
} SegmentLoad;

/* A power of two that is greater than the number of rows in a segment */
#define SEGMENT_LOADS 4096

StaticAssertDecl(SEGMENT_LOADS > CPM_SEGMENT_SIZE / sizeof(CpmHistoryRow), "too few places");

typedef struct LoadReading
{
	HistoryReading reading;
	HTAB	   *loads;			/* of Load */
	HTAB	   *pools;			/* of LoadPool */
	HTAB	   *wait_events;	/* of names, each char[NAMEDATALEN] */
	const LoadPool **pool;		/* by number in the dictionary of the present segment */
	const char **wait_event;	/* the same */
	SegmentLoad *of_segment;	/* SEGMENT_LOADS of them, by hash of their references */
	TimestampTz previous_at;	/* of the previous sample; 0: none */
	int64		sample_us;		/* the time that the present sample represents */
	int64		observed_us;	/* in the requested span */
	int64		busy_us;		/* of all loads */
} LoadReading;

/* Pack the references that identify the load of a row within its segment into one word. */
static inline uint64
pack_references(const CpmHistoryRow *recorded)
{
	return (uint64) recorded->names | (uint64) recorded->queryid << 16 |
		(uint64) recorded->wait_event << 32 | (uint64) recorded->wait_class << 48;
}

static void
add_row_load(LoadReading *load, const CpmHistoryRow *recorded)
{
	uint64		references = pack_references(recorded);
	uint32		place = (uint32) (references * UINT64CONST(0x9E3779B97F4A7C15) >> 52);

	while (load->of_segment[place].references != references)
	{
		if (load->of_segment[place].references == 0)
		{
			load->of_segment[place].references = references;
			break;
		}
		place = (place + 1) % SEGMENT_LOADS;
	}
	load->of_segment[place].busy_us += load->sample_us;
}

/* Set the time that the sample represents, and add it to the observed time. */
static void
observe_sample(LoadReading *load, const CpmHistorySample *sample)
{
	int64		interval_us = sample->interval_ms * INT64CONST(1000);
	int64		distance_us = sample->at - load->previous_at;
	bool		is_same = sample->is_continuation && sample->at == load->previous_at;

	if (is_same)
		return;
	/* without a previous sample, or if the clock was set back, assume one interval */
	load->sample_us = load->previous_at == 0 || distance_us <= 0 ? interval_us :
		Min(distance_us, 2 * interval_us);
	load->previous_at = sample->at;
	if (is_in_span(&load->reading, sample))
		load->observed_us += load->sample_us;
}

/* Return the pool of names of the present segment. */
static const LoadPool *
pool_of_names(const LoadReading *load, uint16 number)
{
	CpmHistoryNames names = resolved_names(&load->reading, number);
	char		application_name[NAMEDATALEN];
	LoadPool	pool;

	memset(&pool, 0, sizeof(pool));
	pool.database = names.database_oid;
	pool.role = names.role_oid;
	strlcpy(pool.name.database, names.database, NAMEDATALEN);
	strlcpy(pool.name.role, names.role, NAMEDATALEN);
	strlcpy(application_name, names.application_name, NAMEDATALEN);
	cpm_pool_application(pool.name.application_name, application_name, cpm_application_grouping);
	return hash_search(load->pools, &pool, HASH_ENTER, NULL);
}

static const char *
name_of_wait_event(const LoadReading *load, uint16 number)
{
	char		name[NAMEDATALEN] = {0};

	strlcpy(name, cpm_segment_wait_event(load->reading.segment, number).name, NAMEDATALEN);
	return hash_search(load->wait_events, name, HASH_ENTER, NULL);
}

/* Look up the pools and wait events in the dictionary of the present segment. */
static void
resolve_dictionary(LoadReading *load)
{
	const uint32 *count = load->reading.segment->count;

	for (uint32 i = 1; i <= count[CPM_DICTIONARY_NAMES]; i++)
		load->pool[i] = pool_of_names(load, (uint16) i);
	for (uint32 i = 1; i <= count[CPM_DICTIONARY_WAIT_EVENT]; i++)
		load->wait_event[i] = name_of_wait_event(load, (uint16) i);
}

/* Return the key in the result of a packed row. */
static LoadKey
key_of_load(const LoadReading *load, uint64 references)
{
	uint16		queryid = (uint16) (references >> 16);
	LoadKey		key = {.pool = load->pool[(uint16) references], .wait_class = HIDDEN_CLASS};

	if (!load->reading.sees_all && !cpm_may_see(key.pool->role))
		return key;
	key.wait_class = references >> 48;
	if (queryid != 0)
		key.queryid = cpm_segment_queryid(load->reading.segment, queryid);
	key.wait_event = load->wait_event[(uint16) (references >> 32)];
	return key;
}

/* Add the sums of a segment to the result. */
static void
add_segment_loads(LoadReading *load)
{
	HistoryReading *reading = &load->reading;
	MemoryContext old_context = MemoryContextSwitchTo(reading->context);

	resolve_dictionary(load);
	for (int i = 0; i < SEGMENT_LOADS; i++)
	{
		const SegmentLoad *sum = &load->of_segment[i];
		LoadKey		key;
		Load	   *entry;
		bool		found;

		if (sum->references == 0)
			continue;
		key = key_of_load(load, sum->references);
		entry = hash_search(load->loads, &key, HASH_ENTER, &found);
		if (!found)
			entry->busy_us = 0;
		entry->busy_us += sum->busy_us;
		load->busy_us += sum->busy_us;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(reading->context);
}

static void
add_segment(const char *bytes, uint32 used, void *arg)
{
	LoadReading *load = arg;
	CpmHistorySample sample;

	memset(load->of_segment, 0, SEGMENT_LOADS * sizeof(SegmentLoad));
	cpm_segment_begin(load->reading.segment, bytes, used);
	while (cpm_segment_next(load->reading.segment, &sample))
	{
		observe_sample(load, &sample);
		for (int i = 0; is_in_span(&load->reading, &sample) && i < sample.count; i++)
			add_row_load(load, &sample.row[i]);
	}
	add_segment_loads(load);
}

/* Sort the largest load first, and equal ones by their keys. */
static int
compare_loads(const void *a, const void *b)
{
	const Load *first = *(const Load *const *) a;
	const Load *second = *(const Load *const *) b;
	int			by_pool;

	if (first->busy_us != second->busy_us)
		return first->busy_us > second->busy_us ? -1 : 1;
	by_pool = memcmp(first->key.pool, second->key.pool, sizeof(LoadPool));
	if (by_pool != 0)
		return by_pool;
	if (first->key.queryid != second->key.queryid)
		return first->key.queryid < second->key.queryid ? -1 : 1;
	if (first->key.wait_class != second->key.wait_class)
		return first->key.wait_class < second->key.wait_class ? -1 : 1;
	return first->key.wait_event == NULL || second->key.wait_event == NULL ? 0 :
		strcmp(first->key.wait_event, second->key.wait_event);
}

static void
emit_recorded_load(LoadReading *load, const Load *entry)
{
	CpmRow	   *row = &load->reading.row;
	const LoadKey *key = &entry->key;
	bool		is_hidden = key->wait_class == HIDDEN_CLASS;

	add_name(row, key->pool->name.database);
	add_name(row, key->pool->name.role);
	cpm_row_text(row, key->pool->name.application_name);
	cpm_row_text(row, is_hidden ? NULL : cpm_wait_class_name(key->wait_class));
	cpm_row_text(row, key->wait_event);
	add_queryid(row, key->queryid);
	if (is_hidden)
		cpm_row_text(row, CPM_HIDDEN_QUERY);
	else
		cpm_row_query(row, cpm_query_text(load->reading.texts, key->pool->database, key->pool->role,
										  key->queryid), key->pool->database);
	cpm_row_float8(row, (double) entry->busy_us / (double) load->observed_us);
	cpm_row_float8(row, (double) entry->busy_us / (double) load->busy_us);
	cpm_row_emit(row, load->reading.result);
}

static void
emit_loads(LoadReading *load)
{
	int64		count = hash_get_num_entries(load->loads);
	Load	  **sorted = palloc_extended((count + 1) * sizeof(Load *), MCXT_ALLOC_HUGE);
	HASH_SEQ_STATUS status;
	Load	   *entry;
	int64		next = 0;

	hash_seq_init(&status, load->loads);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		sorted[next++] = entry;
		cpm_query_texts_request(load->reading.texts, entry->key.pool->database,
								entry->key.pool->role, entry->key.queryid);
	}
	cpm_query_texts_read(load->reading.texts);
	qsort(sorted, count, sizeof(Load *), compare_loads);
	for (int64 i = 0; i < count; i++)
		emit_recorded_load(load, sorted[i]);
}

static HTAB *
create_table(const char *name, Size key_size, Size entry_size)
{
	HASHCTL		control = {.keysize = key_size, .entrysize = entry_size};

	control.hcxt = CurrentMemoryContext;
	return hash_create(name, 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * connpool_load(since timestamptz, until timestamptz). Columns: database, role, application_name,
 * wait_class, wait_event, queryid, query, avg_sessions, share.
 */
Datum
connpool_load_1_0(PG_FUNCTION_ARGS)
{
	LoadReading load = {0};

	require_history("connpool_load()");
	begin_reading(&load.reading, fcinfo);
	load.loads = create_table("connpool_monitor load", sizeof(LoadKey), sizeof(Load));
	load.pools = create_table("connpool_monitor load pools", sizeof(LoadPool), sizeof(LoadPool));
	load.wait_events = create_table("connpool_monitor load waits", NAMEDATALEN, NAMEDATALEN);
	load.pool = palloc((CPM_DICTIONARY_MAX + 1) * sizeof(LoadPool *));
	load.wait_event = palloc0((CPM_DICTIONARY_MAX + 1) * sizeof(char *));
	load.of_segment = palloc(SEGMENT_LOADS * sizeof(SegmentLoad));
	cpm_session_history_scan(load.reading.since, load.reading.until, add_segment, &load);
	emit_loads(&load);
	return (Datum) 0;
}
