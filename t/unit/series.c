/* SPDX-License-Identifier: PostgreSQL */
/*
 * series.c
 *		Interleaves reads of counters/monotonic_counters, and prints each counter that falls.
 *
 * A read acquires the lock after it has read all pools. Three clients read. Whenever a read does
 * not hold the lock, the program lets other clients read, counts statements, evicts pools and
 * takes samples at random. So a read can complete while another one waits for the lock, an order
 * that tests with processes meet too rarely. Every run uses the same random numbers.
 *
 * Prints a line for each counter that is lower than in the same client's previous read or that
 * disappears, for each read whose databases do not add up to the total, and for each allocation
 * while the lock is held. The last line has the numbers of reads, of reads that completed within
 * another one, and of series that began. t/044_series.pl checks the output.
 */
#include "postgres.h"

#include "base/settings.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_load.h"
#include "counters/pool_retained.h"
#include "counters/pool_table.h"
#include "counters/session_counters.h"
#include "events/deadlocks.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "events/lock_log.h"
#include "events/rejections.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

/* this program does not link the server's functions */
#undef printf
#undef snprintf
#include <stdio.h>

#define CLIENTS 3
#define MAX_POOLS 30
#define DATABASES 100			/* more than have counters of their own */
#define ROUNDS 10000

typedef struct Pool
{
	CpmPoolName name;
	uint64		queries;
	CpmPoolUse	use;
	bool		is_idle;
} Pool;

/* The counters of a read. named[i] belongs to the pool with the number name[i]. */
typedef struct Reading
{
	uint64		total;
	uint64		other;
	int			series;
	int			name[CPM_MAX_POOL_SERIES];
	uint64		named[CPM_MAX_POOL_SERIES];
	int			databases;
	CpmDatabaseCounters database[DATABASES];
} Reading;

int			cpm_max_pools = MAX_POOLS;

static Pool pools[MAX_POOLS + 1];
static int	names;				/* pools created so far */
static uint64 samples;
static uint64 evicted;
static int	busiest = 1;		/* the only pool that runs statements, because the growth of other
								 * pools could hide that the series "other" falls */
static bool is_locked;
static int	readers;			/* reads in progress; each but the first began within another */
static Reading last_reading[CLIENTS];
static int	reads;
static int	crossed;
static int	begun;

/*
 * The memory of the reads in progress, as a stack. A read that begins within another one also ends
 * within it, so each read frees all that was allocated since it began.
 */
static char memory[64 * 1024 * 1024];
static size_t used_memory;

static int
random_below(int limit)
{
	static uint64 state = 20261127;

	state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	return (int) ((state >> 33) % (uint64) limit);
}

void *
palloc(Size size)
{
	char	   *allocated = memory + used_memory;

	/* a failure would leave the lock held, and a large allocation is slow */
	if (is_locked)
		printf("%zu bytes are allocated while the lock is held\n", size);
	used_memory += MAXALIGN(size);
	if (used_memory > sizeof(memory))
		abort();
	return allocated;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void
pfree(void *pointer)
{
	(void) pointer;
}

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	return a * b;
}

/* Put a new pool into a slot. */
static void
create_pool(int slot)
{
	Pool	   *pool = &pools[slot];

	memset(pool, 0, sizeof(*pool));
	snprintf(pool->name.database, NAMEDATALEN, "%d", names % DATABASES);
	snprintf(pool->name.application_name, NAMEDATALEN, "%d", names++);
	cpm_retained_add_pool(slot, pool->name.database);
}

static void
evict(int slot)
{
	cpm_retained_evict(slot, pools[slot].queries, 0);
	pools[CPM_OTHER_POOL].queries += pools[slot].queries;
	evicted++;
	create_pool(slot);
}

static void
take_samples(void)
{
	int			count = 1 + random_below(20);

	samples += (uint64) count;
	for (int i = 1; i <= MAX_POOLS; i++)
	{
		if (pools[i].is_idle)
			continue;
		pools[i].use.samples += (uint64) count;
		pools[i].use.sessions += (uint64) (count * (1 + i % 3));
		pools[i].use.last_used = samples;
	}
}

static void read_counters(void);

static void
act(void)
{
	int			slot = 1 + random_below(MAX_POOLS);

	switch (random_below(10))
	{
		case 0:
			if (readers < CLIENTS)
				read_counters();
			break;
		case 1:
			take_samples();
			break;
		case 2:
			if (random_below(20) == 0)
				evict(slot);
			break;
		case 3:
			pools[slot].is_idle = random_below(3) == 0;
			break;
		case 4:
			if (random_below(20) == 0)
				busiest = slot;
			break;
		default:
			pools[busiest].is_idle = false;
			pools[busiest].queries += (uint64) random_below(1000);
	}
}

/* Let others act, unless this read holds the lock. */
static void
let_others_act(void)
{
	for (int i = is_locked ? 0 : random_below(6); i > 0; i--)
		act();
}

int
cpm_pool_slots(void)
{
	return MAX_POOLS + 1;
}

uint64
cpm_pools_evicted(void)
{
	return evicted;
}

uint64
cpm_pool_busy_samples(void)
{
	return samples;
}

CpmPoolUse
cpm_pool_busy_use(int index)
{
	if (index == 0)
		let_others_act();
	return pools[index].use;
}

CpmPoolSnapshot
cpm_pool_snapshot_alloc(CpmSnapshotHistograms kind)
{
	CpmPoolSnapshot snapshot = {.slots = MAX_POOLS + 1};

	(void) kind;
	snapshot.is_used = palloc(snapshot.slots * sizeof(bool));
	snapshot.pool = palloc0(snapshot.slots * sizeof(CpmPool));
	snapshot.histogram = palloc0(sizeof(CpmHistogram));
	return snapshot;
}

void
cpm_pool_snapshot_read(CpmPoolSnapshot *snapshot, bool nowait)
{
	(void) nowait;
	let_others_act();
	for (int i = 0; i < snapshot->slots; i++)
	{
		snapshot->is_used[i] = true;
		snapshot->pool[i].name = pools[i].name;
		snapshot->pool[i].counts.of[CPM_QUERIES] = pools[i].queries;
	}
}

void
cpm_pool_snapshot_free(CpmPoolSnapshot *snapshot)
{
	pfree(snapshot->is_used);
	pfree(snapshot->pool);
	pfree(snapshot->histogram);
}

CpmPoolSnapshot
cpm_pool_snapshot(CpmSnapshotHistograms kind)
{
	CpmPoolSnapshot snapshot = cpm_pool_snapshot_alloc(kind);

	cpm_pool_snapshot_read(&snapshot, false);
	return snapshot;
}

LWLock *
cpm_pools_lock(void)
{
	return NULL;
}

bool
LWLockAcquire(LWLock *lock, LWLockMode mode)
{
	(void) lock, (void) mode;
	let_others_act();
	is_locked = true;
	return true;
}

void
LWLockRelease(LWLock *lock)
{
	(void) lock;
	is_locked = false;
}

void
cpm_session_histograms(CpmHistogram *setup, CpmHistogram *duration)
{
	(void) setup, (void) duration;
}

CpmRejectionCount
cpm_rejections_count(CpmRejection reason)
{
	CpmRejectionCount count = {0};

	(void) reason;
	return count;
}

CpmErrorCount
cpm_errors_get(int index)
{
	CpmErrorCount count = {0};

	(void) index;
	return count;
}

CpmLeakCounts
cpm_leak_counts(CpmLeakKind kind)
{
	CpmLeakCounts counts = {0};

	(void) kind;
	return counts;
}

uint64
cpm_deadlocks_get(int index, char *database_name)
{
	(void) index;
	database_name[0] = '\0';
	return 0;
}

CpmLockWaitCounts
cpm_lock_wait_counts(void)
{
	CpmLockWaitCounts none = {0};

	return none;
}

uint64
cpm_pool_load_read(CpmStatWindow window, CpmLoad *by_pool)
{
	(void) window;
	memset(by_pool, 0, (MAX_POOLS + 1) * sizeof(CpmLoad));
	return 0;
}

static void
check(const char *family, const char *label, uint64 before, uint64 now)
{
	if (now < before)
		printf("%s of %s fell from " UINT64_FORMAT " to " UINT64_FORMAT "\n", family, label,
			   before, now);
}

static Reading
make_reading(const CpmMonotonicCounters *counters)
{
	Reading		reading = {
		.total = counters->totals.counts.of[CPM_QUERIES],
		.other = counters->other_queries,
		.databases = counters->databases,
	};

	for (int i = 0; i < counters->pools.slots; i++)
		if (counters->has_series[i])
		{
			reading.name[reading.series] = atoi(counters->pools.pool[i].name.application_name);
			reading.named[reading.series++] = counters->series_queries[i];
		}
	memcpy(reading.database, counters->database,
		   counters->databases * sizeof(CpmDatabaseCounters));
	return reading;
}

static void
compare(const Reading *before, const Reading *now)
{
	char		label[16];
	uint64		sum = 0;

	check("total", "all", before->total, now->total);
	check("series", "other", before->other, now->other);
	for (int i = 0; i < now->series; i++)
	{
		int			j = 0;

		while (j < before->series && before->name[j] != now->name[i])
			j++;
		snprintf(label, sizeof(label), "%d", now->name[i]);
		if (j < before->series)
			check("series", label, before->named[j], now->named[i]);
		else
			begun++;
	}
	for (int i = 0; i < before->databases; i++)
	{
		uint64		queries = 0;

		for (int j = 0; j < now->databases; j++)
			if (strcmp(before->database[i].name, now->database[j].name) == 0)
				queries = now->database[j].queries;
		check("database", before->database[i].name, before->database[i].queries, queries);
	}
	for (int i = 0; i < now->databases; i++)
		sum += now->database[i].queries;
	if (sum != now->total)
		printf("the databases have " UINT64_FORMAT " statements of " UINT64_FORMAT "\n", sum,
			   now->total);
}

static void
read_counters(void)
{
	int			client = readers++;
	size_t		mark = used_memory;
	Reading		reading = make_reading(cpm_monotonic_read());

	compare(&last_reading[client], &reading);
	last_reading[client] = reading;
	used_memory = mark;
	readers--;
	reads++;
	crossed += client > 0;
}

int
main(void)
{
	cpm_monotonic_attach(calloc(1, cpm_monotonic_size()), true);
	cpm_retained_attach(calloc(1, cpm_retained_size()), true);
	snprintf(pools[CPM_OTHER_POOL].name.application_name, NAMEDATALEN, "%d", -1);
	for (int i = 1; i <= MAX_POOLS; i++)
		create_pool(i);
	for (int i = 0; i < ROUNDS; i++)
	{
		act();
		read_counters();
	}
	printf("%d %d %d\n", reads, crossed, begun);
	return 0;
}
