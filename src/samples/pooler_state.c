/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_state.c
 *		What is known of the PgBouncers that are asked, and which sessions are theirs.
 *
 * A place for each console, written by the worker that asks it and guarded by a
 * change counter: readers copy, and copy again when it was changed meanwhile.
 *
 * A session is known to be a pooler's by a mark at the number of its PGPROC, with
 * its pid and start. The mark stays true for as long as the session lives,
 * whatever becomes of the pooler: a connection never changes hands. That a session
 * is none's needs the newest answer of all of them.
 */
#include "postgres.h"

#include <math.h>

#include "base/seqlock.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/pooler_state.h"

#define FRESH_INTERVALS 3
#define FRESH_LEAST_US (3 * USECS_PER_SEC)

/* A session that opened so shortly before the question may not be in the answer. */
#define MARGIN_US USECS_PER_SEC

typedef struct PoolerPlace
{
	CpmSeqlock	lock;			/* guards the rest */
	CpmPoolerState state;
	bool		has_answer;
	CpmPoolerAnswer answer;
} PoolerPlace;

typedef struct Mark
{
	pg_atomic_uint64 session;	/* pid << 32 | pooler + 1; 0: nobody's */
	pg_atomic_uint64 started_at;
} Mark;

typedef struct Poolers
{
	int			count;			/* set at start */
	int			marks;
	PoolerPlace place[FLEXIBLE_ARRAY_MEMBER];	/* and then the marks */
} Poolers;

static Poolers *poolers;
static Mark *marks;

static Size
places_size(int count)
{
	return MAXALIGN(offsetof(Poolers, place) + count * sizeof(PoolerPlace));
}

Size
cpm_poolers_size(void)
{
	return places_size(cpm_settings_poolers()->count) + MaxBackends * sizeof(Mark);
}

void
cpm_poolers_attach(void *memory, bool is_new)
{
	const CpmPoolerList *list = cpm_settings_poolers();

	poolers = memory;
	marks = (Mark *) ((char *) memory + places_size(is_new ? list->count : poolers->count));
	if (!is_new)
		return;
	memset(poolers, 0, places_size(list->count));
	poolers->count = list->count;
	poolers->marks = MaxBackends;
	for (int i = 0; i < list->count; i++)
	{
		cpm_seqlock_init(&poolers->place[i].lock);
		strlcpy(poolers->place[i].state.name, list->console[i].name, CPM_POOLER_NAME_SIZE);
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

void
cpm_pooler_answered(int pooler, const CpmPoolerAnswer *answer)
{
	PoolerPlace *place = &poolers->place[pooler];

	cpm_seqlock_repair(&place->lock);	/* the previous worker may have died while it wrote */
	cpm_seqlock_write_begin(&place->lock);
	place->answer = *answer;
	place->has_answer = true;
	place->state.up = true;
	place->state.last_success = answer->asked_at;
	place->state.last_error[0] = '\0';
	place->state.retry_at = 0;
	place->state.polls++;
	cpm_seqlock_write_end(&place->lock);
}

void
cpm_pooler_claim_session(int pooler, int proc_number, const CpmSession *session)
{
	Mark	   *mark = &marks[proc_number];

	pg_atomic_write_u64(&mark->started_at, (uint64) session->connected_at);
	pg_write_barrier();
	pg_atomic_write_u64(&mark->session, (uint64) session->pid << 32 | (uint32) (pooler + 1));
}

void
cpm_pooler_failed(int pooler, const char *error, TimestampTz retry_at)
{
	PoolerPlace *place = &poolers->place[pooler];

	cpm_seqlock_repair(&place->lock);	/* the previous worker may have died while it wrote */
	cpm_seqlock_write_begin(&place->lock);
	place->state.up = false;
	strlcpy(place->state.last_error, error, CPM_POOLER_ERROR_SIZE);
	place->state.retry_at = retry_at;
	cpm_seqlock_write_end(&place->lock);
}

CpmPoolerState
cpm_pooler_state(int pooler)
{
	PoolerPlace *place = &poolers->place[pooler];
	CpmPoolerState state = {0};

	for (int tries = 0; tries < 1000; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&place->lock);

		state = place->state;
		if (cpm_seqlock_read_ok(&place->lock, before))
			break;
	}
	return state;
}

bool
cpm_pooler_answer(int pooler, CpmPoolerAnswer *answer)
{
	PoolerPlace *place = &poolers->place[pooler];

	for (int tries = 0; tries < 1000; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&place->lock);
		bool		has_answer = place->has_answer;

		if (has_answer)
			*answer = place->answer;
		if (cpm_seqlock_read_ok(&place->lock, before))
			return has_answer;
	}
	return false;
}

bool
cpm_pooler_is_fresh(int pooler, TimestampTz now)
{
	CpmPoolerState state = cpm_pooler_state(pooler);
	int64		most_us = Max(FRESH_INTERVALS * cpm_pgbouncer_interval_ms * INT64CONST(1000),
							  FRESH_LEAST_US);

	return state.up && now - state.last_success <= most_us;
}

CpmPoolersAsked
cpm_poolers_asked(TimestampTz now)
{
	CpmPoolersAsked asked = {.all_fresh = cpm_poolers_count() > 0, .oldest = DT_NOEND};

	for (int i = 0; i < cpm_poolers_count(); i++)
	{
		asked.all_fresh = asked.all_fresh && cpm_pooler_is_fresh(i, now);
		asked.oldest = Min(asked.oldest, cpm_pooler_state(i).last_success);
	}
	return asked;
}

CpmPooling
cpm_pooling_of(const CpmSession *session, const CpmPoolersAsked *asked, int *pooler)
{
	uint64		marked;

	if (cpm_poolers_count() == 0 || session->proc_number < 0 || session->proc_number >= poolers->marks)
		return CPM_POOLING_UNKNOWN;
	marked = pg_atomic_read_u64(&marks[session->proc_number].session);
	pg_read_barrier();
	if ((int) (marked >> 32) == session->pid && (uint32) marked != 0 &&
		(TimestampTz) pg_atomic_read_u64(&marks[session->proc_number].started_at) == session->connected_at)
	{
		*pooler = (int) (uint32) marked - 1;
		return CPM_POOLING_POOLED;
	}
	/* every one of them would have named it, had it been theirs */
	return asked->all_fresh && session->connected_at + MARGIN_US < asked->oldest ?
		CPM_POOLING_DIRECT : CPM_POOLING_UNKNOWN;
}

/* Only what is summed is copied: this is asked for at every sample. */
static int64
waiting_in(PoolerPlace *place)
{
	int64		sum = 0;

	for (int tries = 0; tries < 1000; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&place->lock);

		sum = 0;
		for (int i = 0; i < place->answer.pools && i < CPM_POOLER_ROWS; i++)
			sum += Max(place->answer.pool[i].number[CPM_CL_WAITING], 0);
		if (cpm_seqlock_read_ok(&place->lock, before))
			break;
	}
	return sum;
}

double
cpm_poolers_waiting(TimestampTz now)
{
	double		sum = NAN;

	for (int i = 0; i < cpm_poolers_count(); i++)
	{
		if (!cpm_pooler_is_fresh(i, now))
			continue;
		sum = (isnan(sum) ? 0 : sum) + (double) waiting_in(&poolers->place[i]);
	}
	return sum;
}
