/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_state.c
 *		The last answers of the PgBouncer consoles, and the PgBouncer to which each session
 *		belongs, if any.
 *
 * The PgBouncer worker is the only writer. Each console has an entry guarded by a sequence lock:
 * readers copy and retry if the worker changed the entry meanwhile. Each PGPROC has a mark for the
 * last of its sessions that was found to be a server connection of a pooler. The mark has the
 * index of the pooler's console, and identifies the session by its pid and the time at which it
 * connected.
 *
 * A mark stays valid for as long as the session lives, even if the pooler becomes unreachable,
 * because the peer of a connection never changes. A session without a valid mark is known to be
 * direct only if every console has answered since it opened and none has listed it.
 *
 * Clients of PgBouncer can choose the names of its pools, and a console can return any names, so
 * the number of series in /metrics is limited. The first CPM_MAX_POOLER_SERIES pools of a console
 * get a series at once. As in counters/monotonic_counters, each further pool must have been listed
 * for CPM_SERIES_MIN_SAMPLES samples, and at most one in CPM_SERIES_PERIOD_SAMPLES samples gets a
 * series. It takes the series of a pool that has not been listed for that long.
 */
#include "postgres.h"

#include <math.h>

#include "base/clock.h"
#include "base/seqlock.h"
#include "base/settings.h"
#include "base/text_settings.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_busy.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/pooler_state.h"
#include "utils/timestamp.h"

#define FRESH_INTERVALS 3
#define FRESH_MIN_US (3 * USECS_PER_SEC)

/* An answer may lack a session that connected less than this before the console was queried. */
#define MARGIN_US USECS_PER_SEC

/*
 * A reader gives up after this many attempts, because the worker may have been stopped while it
 * wrote. cpm_pooler_state() and cpm_poolers_waiting() then return their last, possibly
 * inconsistent copy; cpm_pooler_answer() returns false.
 */
#define MAX_READ_TRIES 1000

/* The series of a pool in /metrics. */
typedef struct PoolSeries
{
	char		database[CPM_POOLER_TEXT_SIZE];
	char		user[CPM_POOLER_TEXT_SIZE];
	uint64		last_listed;	/* the sample at which the last answer listed the pool */
} PoolSeries;

/* The PgBouncer worker writes everything but the name, which the postmaster sets at startup. */
typedef struct PoolerEntry
{
	CpmSeqlock	lock;			/* guards the next three fields */
	CpmPoolerState state;
	bool		has_answer;
	CpmPoolerAnswer answer;

	/* The PgBouncer worker only. */
	int			series_count;
	uint64		series_began;	/* the sample at which the last series began */
	PoolSeries	series[CPM_MAX_POOLER_SERIES];
} PoolerEntry;

/*
 * The PgBouncer worker writes started_at first, then session. Readers read them in the reverse
 * order, and treat the mark as invalid if either does not match their session.
 */
typedef struct SessionMark
{
	pg_atomic_uint64 session;	/* pid << 32 | index of the console + 1; 0 if never marked */
	pg_atomic_uint64 started_at;	/* a TimestampTz */
} SessionMark;

typedef struct Poolers
{
	/* The postmaster sets both at startup. */
	int			count;			/* number of consoles */
	int			marks;			/* number of marks, one for each regular PGPROC */
	PoolerEntry entry[FLEXIBLE_ARRAY_MEMBER];	/* followed by the marks */
} Poolers;

static Poolers *poolers;
static SessionMark *marks;

static Size
entries_size(int count)
{
	return MAXALIGN(offsetof(Poolers, entry) + count * sizeof(PoolerEntry));
}

Size
cpm_poolers_size(void)
{
	return entries_size(cpm_settings_poolers()->count) + MaxBackends * sizeof(SessionMark);
}

void
cpm_poolers_attach(void *memory, bool is_new)
{
	const CpmPoolerList *list = cpm_settings_poolers();

	poolers = memory;
	marks = (SessionMark *) ((char *) memory +
							 entries_size(is_new ? list->count : poolers->count));
	if (!is_new)
		return;
	memset(poolers, 0, entries_size(list->count));
	poolers->count = list->count;
	poolers->marks = MaxBackends;
	for (int i = 0; i < list->count; i++)
	{
		cpm_seqlock_init(&poolers->entry[i].lock);
		strlcpy(poolers->entry[i].state.name, list->console[i].name, CPM_POOLER_NAME_SIZE);
	}
	for (int i = 0; i < MaxBackends; i++)
	{
		pg_atomic_init_u64(&marks[i].session, 0);
		pg_atomic_init_u64(&marks[i].started_at, 0);
	}
}

int
cpm_poolers_count(void)
{
	return poolers ? poolers->count : 0;
}

static PoolSeries *
find_series(PoolerEntry *entry, const CpmPoolerPool *pool)
{
	for (int i = 0; i < entry->series_count; i++)
		if (strcmp(entry->series[i].database, pool->database) == 0 &&
			strcmp(entry->series[i].user, pool->user) == 0)
			return &entry->series[i];
	return NULL;
}

/*
 * Begin the series of a pool. If CPM_MAX_POOLER_SERIES pools have one, end another series, or
 * return false.
 */
static bool
begin_pool_series(PoolerEntry *entry, const CpmPoolerPool *pool, uint64 sample)
{
	PoolSeries *series = &entry->series[0];

	if (entry->series_count < CPM_MAX_POOLER_SERIES)
		series = &entry->series[entry->series_count++];
	else
	{
		for (int i = 1; i < entry->series_count; i++)
			if (entry->series[i].last_listed < series->last_listed)
				series = &entry->series[i];
		if (sample - pool->listed_since < CPM_SERIES_MIN_SAMPLES ||
			sample - series->last_listed < CPM_SERIES_PERIOD_SAMPLES ||
			sample - entry->series_began < CPM_SERIES_PERIOD_SAMPLES)
			return false;
	}
	strlcpy(series->database, pool->database, sizeof(series->database));
	strlcpy(series->user, pool->user, sizeof(series->user));
	series->last_listed = entry->series_began = sample;
	return true;
}

/* Choose the pools in an answer that have a series. entry->answer is the previous answer. */
static void
choose_series(PoolerEntry *entry, CpmPoolerAnswer *answer)
{
	uint64		sample = cpm_pool_busy_samples();

	/* first find the series that the answer still lists, so that none of them ends */
	for (int i = 0; i < answer->pools; i++)
	{
		PoolSeries *series = find_series(entry, &answer->pool[i]);

		if (series != NULL)
			series->last_listed = sample;
	}
	for (int i = 0; i < answer->pools; i++)
	{
		CpmPoolerPool *pool = &answer->pool[i];
		const CpmPoolerPool *previous = cpm_pooler_pool_named(&entry->answer, pool->database,
															  pool->user);

		pool->listed_since = previous ? previous->listed_since : sample;
		pool->has_series = find_series(entry, pool) != NULL ||
			begin_pool_series(entry, pool, sample);
	}
}

void
cpm_pooler_record_answer(int pooler, CpmPoolerAnswer *answer)
{
	PoolerEntry *entry = &poolers->entry[pooler];

	choose_series(entry, answer);
	cpm_seqlock_repair(&entry->lock);	/* the previous worker may have died while it wrote */
	cpm_seqlock_write_begin(&entry->lock);
	entry->answer = *answer;
	entry->has_answer = true;
	entry->state.up = true;
	entry->state.last_success = answer->asked_at;
	entry->state.last_success_us = answer->asked_us;
	entry->state.last_error[0] = '\0';
	entry->state.retry_us = 0;
	entry->state.polls++;
	cpm_seqlock_write_end(&entry->lock);
}

void
cpm_pooler_claim_session(int pooler, int proc_number, const CpmSession *session)
{
	SessionMark *mark = &marks[proc_number];

	pg_atomic_write_u64(&mark->started_at, (uint64) session->connected_at);
	pg_write_barrier();
	pg_atomic_write_u64(&mark->session, (uint64) session->pid << 32 | (uint32) (pooler + 1));
}

void
cpm_pooler_record_failure(int pooler, const char *error, int64 retry_us)
{
	PoolerEntry *entry = &poolers->entry[pooler];

	cpm_seqlock_repair(&entry->lock);	/* the previous worker may have died while it wrote */
	cpm_seqlock_write_begin(&entry->lock);
	entry->state.up = false;
	strlcpy(entry->state.last_error, error, CPM_POOLER_ERROR_SIZE);
	entry->state.retry_us = retry_us;
	cpm_seqlock_write_end(&entry->lock);
}

CpmPoolerState
cpm_pooler_state(int pooler)
{
	PoolerEntry *entry = &poolers->entry[pooler];
	CpmPoolerState state = {0};

	for (int tries = 0; tries < MAX_READ_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&entry->lock);

		state = entry->state;
		if (cpm_seqlock_read_ok(&entry->lock, before))
			break;
	}
	return state;
}

bool
cpm_pooler_answer(int pooler, CpmPoolerAnswer *answer)
{
	PoolerEntry *entry = &poolers->entry[pooler];

	for (int tries = 0; tries < MAX_READ_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&entry->lock);
		bool		has_answer = entry->has_answer;

		if (has_answer)
			*answer = entry->answer;
		if (cpm_seqlock_read_ok(&entry->lock, before))
			return has_answer;
	}
	return false;
}

bool
cpm_pooler_is_fresh(int pooler)
{
	CpmPoolerState state = cpm_pooler_state(pooler);
	int64		max_age_us = Max(FRESH_INTERVALS * cpm_pgbouncer_interval_ms * INT64CONST(1000),
								 FRESH_MIN_US);

	return state.up && cpm_monotonic_us() - state.last_success_us <= max_age_us;
}

TimestampTz
cpm_pooler_retry_at(const CpmPoolerState *state)
{
	return state->retry_us != 0 ? cpm_timestamp_of(state->retry_us) : 0;
}

CpmPoolersFreshness
cpm_poolers_freshness(void)
{
	CpmPoolersFreshness freshness = {
		.all_fresh = cpm_poolers_count() > 0,
		.oldest = GetCurrentTimestamp(),
	};

	for (int i = 0; i < cpm_poolers_count(); i++)
	{
		CpmPoolerState state = cpm_pooler_state(i);

		freshness.all_fresh = freshness.all_fresh && cpm_pooler_is_fresh(i);
		freshness.oldest = Min(freshness.oldest,
							   cpm_comparable_time(state.last_success, state.last_success_us));
	}
	return freshness;
}

CpmPooling
cpm_pooling_of(const CpmSession *session, const CpmPoolersFreshness *freshness, int *pooler)
{
	SessionMark *mark;
	uint64		marked;

	if (cpm_poolers_count() == 0 || session->proc_number < 0 ||
		session->proc_number >= poolers->marks)
		return CPM_POOLING_UNKNOWN;
	mark = &marks[session->proc_number];
	marked = pg_atomic_read_u64(&mark->session);
	pg_read_barrier();
	if ((int) (marked >> 32) == session->pid && (uint32) marked != 0 &&
		(TimestampTz) pg_atomic_read_u64(&mark->started_at) == session->connected_at)
	{
		*pooler = (int) (uint32) marked - 1;
		return CPM_POOLING_POOLED;
	}
	/* The last answer of each console would have listed a session of its pooler. */
	return freshness->all_fresh && session->opened_at + MARGIN_US < freshness->oldest ?
		CPM_POOLING_DIRECT : CPM_POOLING_UNKNOWN;
}

/*
 * Return the number of waiting clients of one console. Reads the entry in place, because every
 * sample needs the number and an answer is large. The index is bounded, because an inconsistent
 * read may see any number of pools.
 */
static int64
waiting_clients(PoolerEntry *entry)
{
	int64		sum = 0;

	for (int tries = 0; tries < MAX_READ_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&entry->lock);

		sum = 0;
		for (int i = 0; i < entry->answer.pools && i < CPM_POOLER_ROWS; i++)
			sum += Max(entry->answer.pool[i].number[CPM_CL_WAITING], 0);
		if (cpm_seqlock_read_ok(&entry->lock, before))
			break;
	}
	return sum;
}

double
cpm_poolers_waiting(void)
{
	double		sum = NAN;

	for (int i = 0; i < cpm_poolers_count(); i++)
	{
		if (!cpm_pooler_is_fresh(i))
			continue;
		sum = (isnan(sum) ? 0 : sum) + (double) waiting_clients(&poolers->entry[i]);
	}
	return sum;
}
