/* SPDX-License-Identifier: PostgreSQL */
/*
 * deadlocks.c
 *		Statements of client sessions that failed because of a deadlock.
 *
 * The session whose statement fails records it in the log hook, which may take no lock. So all
 * counts are atomics, and the log is a ring without locks (base/ring). The first deadlock in a
 * database claims an entry for the database, by compare-and-exchange of its OID; the entry is free
 * again after a reset. If all entries are taken, the last one counts the deadlocks of all other
 * databases.
 *
 * A reset does not clear the counts, because other processes add to them. It records baselines,
 * which readers subtract.
 */
#include "postgres.h"

#include "events/deadlocks.h"
#include "port/atomics.h"

#define LOG_ENTRIES 100

typedef struct DatabaseCount
{
	pg_atomic_uint32 database;	/* OID, set by the process that claims the entry; 0 if free, and
								 * in the last entry */
	pg_atomic_uint64 total;		/* any process adds */
	pg_atomic_uint64 baseline;	/* total at the last reset, which writes it */
	char		name[NAMEDATALEN];	/* written by the process that claims the entry, without a
									 * lock, so a reader may see an old or partial name */
} DatabaseCount;

typedef struct Deadlocks
{
	DatabaseCount count[CPM_DEADLOCK_DATABASES + 1];
	CpmRing		log;			/* its entries follow the struct */
} Deadlocks;

static Deadlocks *deadlocks;
static CpmRing *deadlock_log;

Size
cpm_deadlocks_size(void)
{
	return offsetof(Deadlocks, log) + cpm_ring_size(LOG_ENTRIES, sizeof(CpmDeadlock));
}

void
cpm_deadlocks_attach(void *memory, bool is_new)
{
	deadlocks = memory;
	deadlock_log = &deadlocks->log;
	if (!is_new)
		return;
	memset(deadlocks, 0, sizeof(*deadlocks));
	for (int i = 0; i <= CPM_DEADLOCK_DATABASES; i++)
	{
		pg_atomic_init_u32(&deadlocks->count[i].database, 0);
		pg_atomic_init_u64(&deadlocks->count[i].total, 0);
		pg_atomic_init_u64(&deadlocks->count[i].baseline, 0);
	}
	strlcpy(deadlocks->count[CPM_DEADLOCK_DATABASES].name, CPM_DEADLOCK_OTHER, NAMEDATALEN);
	cpm_ring_init(deadlock_log, LOG_ENTRIES, sizeof(CpmDeadlock));
}

/* Return the entry that counts the deadlocks of a database, claiming one if necessary. */
static DatabaseCount *
count_of(Oid database, const char *name)
{
	for (int i = 0; i < CPM_DEADLOCK_DATABASES; i++)
	{
		DatabaseCount *count = &deadlocks->count[i];
		uint32		expected = 0;

		if (pg_atomic_read_u32(&count->database) == database)
			return count;
		if (pg_atomic_compare_exchange_u32(&count->database, &expected, database))
		{
			strlcpy(count->name, name, NAMEDATALEN);
			return count;
		}
		if (expected == database)
			return count;
	}
	return &deadlocks->count[CPM_DEADLOCK_DATABASES];
}

void
cpm_deadlocks_add(const CpmDeadlock *deadlock, const char *database_name)
{
	pg_atomic_fetch_add_u64(&count_of(deadlock->database, database_name)->total, 1);
	cpm_ring_add(deadlock_log, deadlock);
}

uint64
cpm_deadlocks_get(int index, char *database_name)
{
	DatabaseCount *count = &deadlocks->count[index];
	uint64		baseline = pg_atomic_read_u64(&count->baseline);

	strlcpy(database_name, count->name, NAMEDATALEN);
	/* read the baseline first, so that a reset meanwhile cannot make the difference negative */
	pg_read_barrier();
	return pg_atomic_read_u64(&count->total) - baseline;
}

void
cpm_deadlocks_scan(CpmRingVisitor visit, void *arg)
{
	CpmDeadlock copy;

	cpm_ring_scan(deadlock_log, &copy, visit, arg);
}

void
cpm_deadlocks_reset(void)
{
	for (int i = 0; i <= CPM_DEADLOCK_DATABASES; i++)
	{
		DatabaseCount *count = &deadlocks->count[i];

		pg_atomic_write_u64(&count->baseline, pg_atomic_read_u64(&count->total));
		pg_atomic_write_u32(&count->database, 0);
	}
	cpm_ring_reset(deadlock_log);
}

/* A record of the statistics file. */
typedef struct SavedCount
{
	uint64		deadlocks;
	uint64		database;		/* OID; 0: the last entry */
	char		name[NAMEDATALEN];
} SavedCount;

static void
save_deadlock_counts(CpmSink *sink)
{
	for (int i = 0; i <= CPM_DEADLOCK_DATABASES; i++)
	{
		SavedCount	saved = {.database = pg_atomic_read_u32(&deadlocks->count[i].database)};

		saved.deadlocks = cpm_deadlocks_get(i, saved.name);
		if (saved.deadlocks > 0)
			cpm_put(sink, &saved);
	}
}

static void
load_deadlock_count(const void *record)
{
	const SavedCount *saved = record;
	DatabaseCount *count = saved->database != 0 ? count_of((Oid) saved->database, saved->name) :
		&deadlocks->count[CPM_DEADLOCK_DATABASES];

	pg_atomic_fetch_add_u64(&count->total, saved->deadlocks);
}

const CpmFilePart cpm_deadlock_counts_part = {
	"deadlock counts", sizeof(SavedCount), .save = save_deadlock_counts,
	.load = load_deadlock_count, .text = {CPM_TEXT(SavedCount, name)}
};

const CpmFilePart cpm_deadlocks_part = {
	"deadlocks", sizeof(CpmDeadlock), .ring = &deadlock_log,
	.time = {CPM_TIME(CpmDeadlock, at)},
	.text = {CPM_TEXT(CpmDeadlock, application_name), CPM_TEXT(CpmDeadlock, detail)}
};
