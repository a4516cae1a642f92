/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_recorder.c
 *		Records the busy sessions of each sample in the session history.
 *
 * The rows of a sample are collected and appended to the newest segment when the sample or the
 * segment is complete. Names, addresses, query ids and wait events become dictionary entries,
 * which are appended to the segment when they first occur in it. A hash table, which is emptied
 * when a segment begins, maps them to their numbers. To avoid most lookups, the recorder also
 * remembers the numbers of each session's previous row, because most recur in its next row.
 *
 * All memory is local to the sampler. A restarted sampler continues the newest segment with an
 * empty hash table, so it repeats dictionary entries, which readers allow.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/history_segment.h"
#include "base/pool.h"
#include "base/wait_class.h"
#include "base/worker.h"
#include "counters/backend_counters.h"
#include "counters/pool_table.h"
#include "live/lock_roots.h"
#include "miscadmin.h"
#include "samples/session_history.h"
#include "samples/worker_status.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "workers/session_recorder.h"

/* The value of a dictionary entry of the newest segment; hashed as bytes, without padding. */
typedef struct EntryKey
{
	uint32		dictionary;		/* a CpmDictionary */
	Oid			database;
	Oid			role;
	uint32		wait_event_info;
	uint64		queryid;
	char		text[NAMEDATALEN];	/* the application_name, or the bytes of the address */
} EntryKey;

typedef struct EntryNumber
{
	EntryKey	key;			/* hash key */
	uint16		number;
} EntryNumber;

/* The references of the previous row of a session, which are numbers of dictionary entries */
typedef struct Recent
{
	uint64		sequence;		/* of the segment; 0: none */
	int			pid;
	TimestampTz connected_at;
	uint16		names;
	uint16		address;
	uint16		queryid_number;
	uint16		wait_event_number;
	uint64		queryid;
	uint32		wait_event_info;
	char		application_name[NAMEDATALEN];
} Recent;

static MemoryContext context;	/* of the hash table; NULL before the first sample */
static HTAB *numbers;			/* of EntryNumber */
static Recent *recents;			/* by number of the session's PGPROC */
static CpmSegmentWriter writer;
static uint64 sequence;			/* of the newest segment */

/* The current sample */
static CpmHistorySample sample;
static CpmHistoryRow *rows;		/* those that are not in the segment yet */

/* Create the hash table empty, and free the previous one. */
static void
forget_numbers(void)
{
	HASHCTL		control = {.keysize = sizeof(EntryKey), .entrysize = sizeof(EntryNumber)};

	MemoryContextReset(context);
	control.hcxt = context;
	numbers = hash_create("connpool_monitor dictionary", 512, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
begin_segment(void)
{
	sequence++;
	cpm_segment_init(&writer, cpm_session_history_next(sequence), GetSystemIdentifier(), sequence);
	forget_numbers();
}

/*
 * Continue the newest segment, which the postmaster or an earlier sampler began. If it is
 * malformed, begin the next one.
 */
static void
start_recording(void)
{
	CpmHistoryEnd end = cpm_session_history_end();
	CpmSegmentReader *reader = palloc(sizeof(CpmSegmentReader));

	context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor recorder",
									ALLOCSET_DEFAULT_SIZES);
	recents = MemoryContextAllocZero(TopMemoryContext, MaxBackends * sizeof(Recent));
	rows = MemoryContextAlloc(TopMemoryContext, CPM_SEGMENT_SIZE);
	forget_numbers();
	sequence = end.sequence;
	if (!cpm_segment_resume(&writer, reader, cpm_session_history_newest(), end.used))
		begin_segment();
	pfree(reader);
}

/* Append the rows collected so far to the newest segment. */
static void
append_rows(void)
{
	sample.row = rows;
	cpm_segment_add_sample(&writer, &sample);
	sample.count = 0;
}

/* Complete the newest segment and begin the next one. */
static void
finish_segment(void)
{
	((CpmSegmentHeader *) writer.bytes)->used = writer.used;
	begin_segment();
}

void
cpm_recorder_begin(int64 interval_ms)
{
	if (!cpm_session_history_is_on())
		return;
	if (context == NULL)
		start_recording();
	/* a reset hides whole segments, so the first sample after it begins a segment */
	if (sequence < cpm_session_history_visible_from() ||
		!cpm_segment_has_room(&writer, CPM_SEGMENT_SAMPLE_SIZE(0)))
		finish_segment();
	memset(&sample, 0, sizeof(sample));
	sample.interval_ms = (uint32) interval_ms;
}

/* Return the entry of the key in the hash table; its number is 0 if it is new. */
static EntryNumber *
find_number(const EntryKey *key)
{
	bool		found;
	EntryNumber *entry = hash_search(numbers, key, HASH_ENTER, &found);

	if (!found)
		entry->number = 0;
	return entry;
}

/*
 * Copy the name of the session's pool; returns false if it is unknown. Meanwhile the pool may be
 * evicted, and another pool may take its slot. So accept the name only if the slot has the same
 * generation before the session's membership is checked and after the name is copied.
 */
static bool
name_of_pool(const CpmSession *session, int pool, CpmPoolName *name)
{
	uint32		before;
	uint32		after;
	uint32		connections;

	return pool > CPM_OTHER_POOL && cpm_pool_generation(pool, &before, &connections) &&
		cpm_slot_pool(session->proc_number, session->pid) == pool && cpm_pool_name(pool, name) &&
		cpm_pool_generation(pool, &after, &connections) && after == before;
}

/*
 * Return the reference to the session's names. Adds their entry if the segment has none. The names
 * of the database and the role are taken from its pool. For a session without a pool or in
 * "(other)", and if another pool takes the slot meanwhile, they are unknown, and stored as empty.
 */
static uint16
reference_to_names(const CpmSession *session, int pool)
{
	EntryKey	key = {
		.dictionary = CPM_DICTIONARY_NAMES,
		.database = session->database,
		.role = session->role,
	};
	EntryNumber *entry;
	CpmPoolName pool_name;
	CpmHistoryNames names = {
		.database_oid = session->database,
		.role_oid = session->role,
		.database = "",
		.role = "",
		.application_name = session->application_name,
	};

	strlcpy(key.text, session->application_name, sizeof(key.text));
	entry = find_number(&key);
	if (entry->number != 0)
		return entry->number;
	if (name_of_pool(session, pool, &pool_name))
	{
		names.database = pool_name.database;
		names.role = pool_name.role;
	}
	return entry->number = cpm_segment_add_names(&writer, &names);
}

/* Return the reference to the client's address; 0 for a Unix socket. */
static uint16
reference_to_address(const SockAddr *address)
{
	EntryKey	key = {.dictionary = CPM_DICTIONARY_ADDRESS};
	EntryNumber *entry;

	if (!cpm_segment_address_key(address, key.text))
		return 0;
	entry = find_number(&key);
	if (entry->number == 0)
		entry->number = cpm_segment_add_address(&writer, address);
	return entry->number;
}

static uint16
reference_to_queryid(uint64 queryid)
{
	EntryKey	key = {.dictionary = CPM_DICTIONARY_QUERYID, .queryid = queryid};
	EntryNumber *entry;

	if (queryid == 0)
		return 0;
	entry = find_number(&key);
	if (entry->number == 0)
		entry->number = cpm_segment_add_queryid(&writer, queryid);
	return entry->number;
}

static uint16
reference_to_wait_event(uint32 wait_event_info)
{
	EntryKey	key = {
		.dictionary = CPM_DICTIONARY_WAIT_EVENT,
		.wait_event_info = wait_event_info,
	};
	EntryNumber *entry;

	if (wait_event_info == 0)
		return 0;
	entry = find_number(&key);
	if (entry->number == 0)
	{
		CpmHistoryWaitEvent event = {
			.type = pgstat_get_wait_event_type(wait_event_info),
			.name = pgstat_get_wait_event(wait_event_info),
		};

		entry->number = cpm_segment_add_wait_event(&writer, &event);
	}
	return entry->number;
}

/* Return the references for the session's row. Adds the entries that the newest segment lacks. */
static const Recent *
references_of(const CpmSession *session, int pool)
{
	Recent	   *recent = &recents[session->proc_number];

	if (recent->sequence != sequence || recent->pid != session->pid ||
		recent->connected_at != session->connected_at ||
		strcmp(recent->application_name, session->application_name) != 0)
	{
		memset(recent, 0, sizeof(*recent));
		recent->sequence = sequence;
		recent->pid = session->pid;
		recent->connected_at = session->connected_at;
		strlcpy(recent->application_name, session->application_name, NAMEDATALEN);
		recent->names = reference_to_names(session, pool);
		recent->address = reference_to_address(&session->client_addr);
	}
	if (recent->queryid != session->queryid)
	{
		recent->queryid = session->queryid;
		recent->queryid_number = reference_to_queryid(session->queryid);
	}
	if (recent->wait_event_info != session->wait_event_info)
	{
		recent->wait_event_info = session->wait_event_info;
		recent->wait_event_number = reference_to_wait_event(session->wait_event_info);
	}
	return recent;
}

static uint32
pack_age_since(TimestampTz since)
{
	return since == 0 ? CPM_NO_AGE : cpm_pack_age(cpm_age_us(sample.at, since));
}

void
cpm_recorder_add(const CpmSession *session, int pool, TimestampTz at)
{
	const Recent *references;
	CpmHistoryRow *row;

	if (!cpm_session_history_is_on() || !cpm_is_busy_state(session->state))
		return;
	sample.at = at;
	if (!cpm_segment_has_room(&writer, CPM_SEGMENT_SAMPLE_SIZE(sample.count) +
							  CPM_SEGMENT_ROW_MAX))
	{
		append_rows();
		finish_segment();
		sample.is_continuation = true;
	}
	references = references_of(session, pool);
	row = &rows[sample.count++];
	row->pid = session->pid;
	row->root_blocker = cpm_lock_root(session);
	row->state_age = pack_age_since(session->state_change);
	row->xact_age = pack_age_since(session->xact_start);
	row->names = references->names;
	row->address = references->address;
	row->queryid = references->queryid_number;
	row->wait_event = references->wait_event_number;
	row->state = (uint8) session->state;
	row->wait_class = (uint8) cpm_wait_class(session->state, session->wait_event_info);
	row->unused = 0;
}

void
cpm_recorder_end(TimestampTz at)
{
	CpmHistoryEnd end;
	bool		has_complete_segment;

	if (!cpm_session_history_is_on())
		return;
	sample.at = at;
	append_rows();
	has_complete_segment = sequence != cpm_session_history_end().sequence;
	end.sequence = sequence;
	end.used = writer.used;
	cpm_session_history_publish(end);
	if (has_complete_segment)
		cpm_worker_wake(CPM_WORKER_SAVER);
}
