/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejections.c
 *		Refused connections: counters by reason, and a log of the latest.
 *
 * The processes that record refusals are about to exit, many do so at the same time, and most have
 * no PGPROC. Without a PGPROC, an LWLock seems to work until it is contended, and then brings the
 * cluster down. So all counters are atomics, and the log consists of rings without locks
 * (base/ring), one for each reason, so that a flood of attempts refused for one reason does not
 * overwrite the entries of the others.
 *
 * A reset does not clear counters, because other processes add to them. It records a baseline,
 * which readers subtract.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/ring.h"
#include "base/stream.h"
#include "common/hashfn.h"
#include "events/rejections.h"
#include "port/atomics.h"

/* The hash table of repetitions has nearly as many entries as all logs together. */
#define REPEAT_GROUPS 1024
#define REPEATS_IN_GROUP 4
#define SOURCES 256				/* hash buckets for sources: an address and a reason */
#define MAX_ENTRIES_OF_SOURCE 100
#define MAX_ENTRIES_OF_REASON 400	/* below the capacity of its log, so that a flood does not
									 * overwrite all older entries */
#define FORGOTTEN_IN_MINUTE 5	/* by how much the counter of a reason falls each minute */
#define SEVERAL "(several)"		/* the names in an entry that attempts with several names share */
#define MAX_REPEAT_PAUSE_US USECS_PER_MINUTE	/* between two attempts in one entry */
#define MAX_DISORDER_US USECS_PER_SEC	/* how late a process may record an attempt */

typedef struct RefusalCounter
{
	pg_atomic_uint64 total;		/* since the server started, plus those loaded; any process adds */
	pg_atomic_uint64 last_seen; /* a TimestampTz; the last writer wins */
	pg_atomic_uint64 last_us;	/* the last one since the start, by the monotonic clock; 0: none */
	pg_atomic_uint64 baseline;	/* total at the last reset, which writes it */
} RefusalCounter;

/*
 * Maps the hash of a refused attempt to the log entry that counts its repetitions. Any process
 * writes it without a lock. It is only a hint: processes may overwrite the mappings of other
 * processes, and a repetition that does not find its entry gets a new one. A mapping whose ticket
 * does not belong to its hash, because two processes wrote it at the same time, may make one entry
 * count attempts of another kind.
 */
typedef struct Repeat
{
	pg_atomic_uint64 hash;		/* 0 if free, or while the ticket is written */
	pg_atomic_uint64 ticket;	/* of the entry in the log */
} Repeat;

typedef struct Refusals
{
	RefusalCounter counter[CPM_REJECTIONS];
	Repeat		repeat[REPEAT_GROUPS][REPEATS_IN_GROUP];

	/*
	 * Any process writes these, without a lock. Low 16 bits: entries appended; above: the minute
	 * of the last attempt that needed a new entry.
	 */
	pg_atomic_uint64 source[SOURCES];
	pg_atomic_uint64 reason[CPM_REJECTIONS];

	pg_atomic_uint64 sequence;	/* of the next entry, in all rings; any process adds */
	/* the rings follow the struct */
} Refusals;

static Refusals *refusals;
static CpmRing *logs[CPM_REJECTIONS];

static Size
log_size(void)
{
	return cpm_ring_size(CPM_REJECTION_LOG_ENTRIES, sizeof(CpmRejected));
}

Size
cpm_rejections_size(void)
{
	return MAXALIGN(sizeof(Refusals)) + CPM_REJECTIONS * log_size();
}

void
cpm_rejections_attach(void *memory, bool is_new)
{
	refusals = memory;
	for (int i = 0; i < CPM_REJECTIONS; i++)
		logs[i] = (CpmRing *) ((char *) memory + MAXALIGN(sizeof(Refusals)) + i * log_size());
	if (!is_new)
		return;

	for (int i = 0; i < CPM_REJECTIONS; i++)
	{
		cpm_ring_init(logs[i], CPM_REJECTION_LOG_ENTRIES, sizeof(CpmRejected));
		pg_atomic_init_u64(&refusals->reason[i], 0);
		pg_atomic_init_u64(&refusals->counter[i].total, 0);
		pg_atomic_init_u64(&refusals->counter[i].last_seen, 0);
		pg_atomic_init_u64(&refusals->counter[i].last_us, 0);
		pg_atomic_init_u64(&refusals->counter[i].baseline, 0);
	}
	for (int i = 0; i < SOURCES; i++)
		pg_atomic_init_u64(&refusals->source[i], 0);
	for (int group = 0; group < REPEAT_GROUPS; group++)
	{
		for (int i = 0; i < REPEATS_IN_GROUP; i++)
		{
			pg_atomic_init_u64(&refusals->repeat[group][i].hash, 0);
			pg_atomic_init_u64(&refusals->repeat[group][i].ticket, 0);
		}
	}
	pg_atomic_init_u64(&refusals->sequence, 0);
}

static uint64
hash_text(const char *text, uint64 seed)
{
	return hash_bytes_extended((const unsigned char *) text, (int) strlen(text), seed);
}

/* Hash the reason and the address without the port, which differs at each attempt. */
static uint64
hash_source(const CpmRejected *refused)
{
	const struct sockaddr_storage *address = &refused->client_addr.addr;
	uint64		hash = (uint64) refused->reason;

	if (address->ss_family == AF_INET)
		hash = hash_bytes_extended((const unsigned char *)
								   &((const struct sockaddr_in *) address)->sin_addr,
								   sizeof(struct in_addr), hash);
	else if (address->ss_family == AF_INET6)
		hash = hash_bytes_extended((const unsigned char *)
								   &((const struct sockaddr_in6 *) address)->sin6_addr,
								   sizeof(struct in6_addr), hash);
	return hash;
}

/* Hash all fields except the port. Never returns 0. */
static uint64
hash_of(const CpmRejected *refused)
{
	uint64		hash = hash_source(refused);

	hash = hash_text(refused->database, hash);
	hash = hash_text(refused->role, hash);
	hash = hash_text(refused->application_name, hash);
	return hash != 0 ? hash : 1;
}

/*
 * Count a new entry of a source or a reason; returns false if its counter has reached the limit.
 * The counter of a reason falls by FORGOTTEN_IN_MINUTE each minute. The counter of a source
 * restarts from 0 after a whole minute in which no attempt of the source needed a new entry.
 */
static bool
count_entry(pg_atomic_uint64 *counter, TimestampTz at, uint64 limit, bool is_reason)
{
	uint64		minute = (uint64) (at / USECS_PER_MINUTE);
	uint64		before = pg_atomic_read_u64(counter);
	uint64		entries;

	do
	{
		uint64		passed = Min(minute - (before >> 16), PG_UINT16_MAX);

		entries = before & PG_UINT16_MAX;
		if (is_reason)
			entries -= Min(entries, passed * FORGOTTEN_IN_MINUTE);
		else if (passed > 1)
			entries = 0;
	} while (!pg_atomic_compare_exchange_u64(counter, &before, minute << 16 |
											 (entries < limit ? entries + 1 : entries)));
	return entries < limit;
}

/* Count a new entry of the attempt's source. Sources with the same hash share a counter. */
static bool
source_may_append(const CpmRejected *refused, TimestampTz at)
{
	return count_entry(&refusals->source[hash_source(refused) % SOURCES], at,
					   MAX_ENTRIES_OF_SOURCE, false);
}

static bool
reason_may_append(const CpmRejected *refused, TimestampTz at)
{
	return count_entry(&refusals->reason[refused->reason], at, MAX_ENTRIES_OF_REASON, true);
}

/*
 * Count a repeated attempt in its log entry; returns false if the entry is gone or too old, or if
 * the clock was set back since its last attempt. last_at never decreases, so it never precedes
 * first_at.
 */
static bool
add_to_entry(CpmRejection reason, uint64 ticket, TimestampTz at)
{
	CpmRejected *entry = cpm_ring_entry(logs[reason], ticket);
	uint64		last = entry ? pg_atomic_read_u64(&entry->last_at) : 0;

	if (entry == NULL || at - (TimestampTz) last > MAX_REPEAT_PAUSE_US ||
		(TimestampTz) last - at > MAX_DISORDER_US)
		return false;
	pg_atomic_fetch_add_u64(&entry->attempts, 1);
	while ((TimestampTz) last < at &&
		   !pg_atomic_compare_exchange_u64(&entry->last_at, &last, (uint64) at))
		;
	return true;
}

/*
 * Count the attempt in the log entry of the attempt that it repeats. Returns false if there is no
 * such entry, and sets *replaceable to the mapping that a new entry replaces: the one with the
 * same hash, or else a free one, or else an arbitrary one.
 */
static bool
count_repetition(const CpmRejected *refused, TimestampTz at, Repeat **replaceable)
{
	uint64		hash = hash_of(refused);
	Repeat	   *group = refusals->repeat[hash % REPEAT_GROUPS];
	Repeat	   *repeat = &group[hash / REPEAT_GROUPS % REPEATS_IN_GROUP];

	for (int i = 0; i < REPEATS_IN_GROUP; i++)
	{
		uint64		found = pg_atomic_read_u64(&group[i].hash);

		if (found == 0)
			repeat = &group[i];
		if (found != hash)
			continue;
		repeat = &group[i];
		if (add_to_entry(refused->reason, pg_atomic_read_u64(&repeat->ticket), at))
			return true;
		break;
	}
	*replaceable = repeat;
	return false;
}

static void
append_attempt(CpmRejected *entry, TimestampTz at, Repeat *repeat)
{
	uint64		ticket;

	entry->first_at = at;
	entry->sequence = pg_atomic_fetch_add_u64(&refusals->sequence, 1);
	pg_atomic_init_u64(&entry->last_at, (uint64) at);
	pg_atomic_init_u64(&entry->attempts, 1);
	ticket = cpm_ring_add(logs[entry->reason], entry);
	if (ticket == CPM_NO_TICKET)
		return;
	pg_atomic_write_u64(&repeat->hash, 0);
	pg_atomic_write_u64(&repeat->ticket, ticket);
	pg_write_barrier();
	pg_atomic_write_u64(&repeat->hash, hash_of(entry));
}

static void
hide_names(CpmRejected *entry)
{
	strlcpy(entry->database, SEVERAL, sizeof(entry->database));
	strlcpy(entry->role, SEVERAL, sizeof(entry->role));
	strlcpy(entry->application_name, SEVERAL, sizeof(entry->application_name));
}

/*
 * Log an attempt: count a repetition, or append an entry. Clients that vary their names must not
 * push all other entries out of the log. So when a source has appended as many entries as it may,
 * its attempts with further names share an entry. When all sources together have appended as many
 * entries for the reason as they may, all attempts with further names share one entry, which has
 * no address.
 */
static void
log_attempt(const CpmRejected *refused, TimestampTz at)
{
	CpmRejected entry = *refused;
	Repeat	   *repeat;
	bool		is_repeated = count_repetition(&entry, at, &repeat);

	if (!is_repeated && !source_may_append(&entry, at))
	{
		hide_names(&entry);
		is_repeated = count_repetition(&entry, at, &repeat);
	}
	if (!is_repeated && !reason_may_append(&entry, at))
	{
		hide_names(&entry);
		memset(&entry.client_addr, 0, sizeof(entry.client_addr));
		is_repeated = count_repetition(&entry, at, &repeat);
	}
	if (!is_repeated)
		append_attempt(&entry, at, repeat);
}

void
cpm_rejections_add(const CpmRejected *refused, TimestampTz at)
{
	RefusalCounter *counter = &refusals->counter[refused->reason];

	pg_atomic_write_u64(&counter->last_seen, (uint64) at);
	pg_atomic_write_u64(&counter->last_us, (uint64) cpm_monotonic_us());
	pg_atomic_fetch_add_u64(&counter->total, 1);
	log_attempt(refused, at);
}

CpmRejectionCount
cpm_rejections_count(CpmRejection reason)
{
	CpmRejectionCount count = {0};
	RefusalCounter *counter;
	uint64		baseline;

	if (refusals == NULL)
		return count;
	counter = &refusals->counter[reason];
	/* read the baseline first, so that a reset meanwhile cannot make the difference negative */
	baseline = pg_atomic_read_u64(&counter->baseline);
	pg_read_barrier();
	count.count = pg_atomic_read_u64(&counter->total) - baseline;
	if (count.count > 0)
		count.last_seen = (TimestampTz) pg_atomic_read_u64(&counter->last_seen);
	return count;
}

uint64
cpm_slot_rejections(void)
{
	if (refusals == NULL)
		return 0;
	return pg_atomic_read_u64(&refusals->counter[CPM_REJECTED_TOO_MANY].total) +
		pg_atomic_read_u64(&refusals->counter[CPM_REJECTED_RESERVED].total);
}

static bool
was_last_within(CpmRejection reason, int64 age_us)
{
	int64		last_us = (int64) pg_atomic_read_u64(&refusals->counter[reason].last_us);

	return last_us != 0 && cpm_monotonic_us() - last_us < age_us;
}

bool
cpm_slot_rejected_within(int64 age_us)
{
	return refusals != NULL && (was_last_within(CPM_REJECTED_TOO_MANY, age_us) ||
								was_last_within(CPM_REJECTED_RESERVED, age_us));
}

void
cpm_rejections_log_scan(CpmRingVisitor visit, void *arg)
{
	CpmRejected copy;

	for (int i = 0; i < CPM_REJECTIONS && refusals != NULL; i++)
		cpm_ring_scan(logs[i], &copy, visit, arg);
}

void
cpm_rejections_reset(void)
{
	for (int i = 0; i < CPM_REJECTIONS; i++)
		pg_atomic_write_u64(&refusals->counter[i].baseline,
							pg_atomic_read_u64(&refusals->counter[i].total));
	for (int i = 0; i < SOURCES; i++)
		pg_atomic_write_u64(&refusals->source[i], 0);
	for (int i = 0; i < CPM_REJECTIONS; i++)
	{
		pg_atomic_write_u64(&refusals->reason[i], 0);
		cpm_ring_reset(logs[i]);
	}
}

static void
save_refusal_counts(CpmSink *sink)
{
	CpmRejectionCount counts[CPM_REJECTIONS];

	for (int i = 0; i < CPM_REJECTIONS; i++)
		counts[i] = cpm_rejections_count(i);
	cpm_put(sink, counts);
}

static void
load_refusal_counts(const void *record)
{
	const CpmRejectionCount *counts = record;

	for (int i = 0; i < CPM_REJECTIONS; i++)
	{
		pg_atomic_write_u64(&refusals->counter[i].total, counts[i].count);
		pg_atomic_write_u64(&refusals->counter[i].last_seen,
							(uint64) cpm_loaded_time(counts[i].last_seen));
	}
}

const CpmFilePart cpm_rejection_counts_part = {
	"rejection counts", sizeof(CpmRejectionCount) * CPM_REJECTIONS,
	.save = save_refusal_counts, .load = load_refusal_counts
};

static void
save_logs(CpmSink *sink)
{
	for (int i = 0; i < CPM_REJECTIONS; i++)
		cpm_ring_save(logs[i], sink);
}

static void
load_logged(const void *record)
{
	const CpmRejected *entry = record;

	(void) cpm_ring_add(logs[entry->reason], entry);
	if (entry->sequence >= pg_atomic_read_u64(&refusals->sequence))
		pg_atomic_write_u64(&refusals->sequence, entry->sequence + 1);
}

const CpmFilePart cpm_rejection_log_part = {
	"rejection log", sizeof(CpmRejected), .save = save_logs, .load = load_logged,
	.ring = logs, .rings = CPM_REJECTIONS,
	.time = {CPM_TIME(CpmRejected, first_at), CPM_TIME(CpmRejected, last_at)},
	.text = {CPM_TEXT(CpmRejected, database), CPM_TEXT(CpmRejected, role),
	CPM_TEXT(CpmRejected, application_name)},
	.below = {CPM_BELOW(CpmRejected, reason, CPM_REJECTIONS)}
};
