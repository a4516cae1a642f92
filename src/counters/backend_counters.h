/* SPDX-License-Identifier: PostgreSQL */
/*
 * backend_counters.h
 *		A slot for each backend, in which it counts what it does.
 */
#ifndef CPM_BACKEND_COUNTERS_H
#define CPM_BACKEND_COUNTERS_H

#include "base/attributes.h"
#include "base/histogram.h"
#include "base/pool.h"
#include "base/query_counts.h"
#include "base/slot_session.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"

/*
 * A maximum is one word: the low 24 bits of the number of the stretch of time
 * that it is of, above 40 bits of microseconds, which are 12 days. A stretch is ten
 * seconds or what lies between two resets, so that a number comes again after five years.
 */
#define CPM_STRETCH_SHIFT 40
#define CPM_STRETCH_MASK ((UINT64CONST(1) << (64 - CPM_STRETCH_SHIFT)) - 1)
#define CPM_MAX_US ((UINT64CONST(1) << CPM_STRETCH_SHIFT) - 1)

/* What the owner of a slot writes at every statement. An octave of buckets is a line of the cache. */
typedef struct CpmSlotCounters
{
	pg_atomic_uint64 bucket[CPM_BUCKETS];
	pg_atomic_uint64 max_since_reset;
	pg_atomic_uint64 max_of_tick;	/* of the last tick in which a statement ended */
	pg_atomic_uint64 max_of_earlier_tick;	/* and of the one before that */
} CpmSlotCounters;

/*
 * The own slot of this process; counters is NULL while it has none. Two lines of
 * the cache, and the second only for its first word when a name is short.
 */
typedef struct CpmOwnSlot
{
	CpmSlotCounters *counters;
	pg_atomic_uint64 *count;	/* CPM_COUNTS of them, apart: they are summed at every sample; and
								 * two more */
	const char *shown_name;		/* the application_name that PostgreSQL shows */
	uint64		longest_us;		/* of last_tick */
	uint32		last_tick;		/* in which a statement ended; 0 before the first */
	int			last_word;		/* of the name, with its end: its number, from 0 */
	uint64		last_word_mask; /* the bytes of it that count */
	char		application_name[NAMEDATALEN];	/* by which its pool was found; zeros after its
												 * end */
} CpmOwnSlot;

StaticAssertDecl(offsetof(CpmOwnSlot, application_name) <= 64, "more than a line of the cache");

extern CPM_INTERNAL CpmOwnSlot cpm_own_slot;

/* Behind the counts of a slot, the number of the running tick: a statement finds it where it writes anyway. */
#define CPM_TICK_INDEX CPM_COUNTS

/* And a bit for each octave of buckets that it has counted in since it came into its pool. */
#define CPM_TOUCHED_INDEX (CPM_COUNTS + 1)

extern Size cpm_slots_size(void);
extern void cpm_slots_attach(void *memory, bool is_new);

/*
 * The calling backend's own slot. Open it once, when the session is let in, and
 * close it when the process ends; in between it counts. None of these raises
 * an error; opening, closing and following may take the lock of counters/pool_table.
 */
extern void cpm_slot_open(TimestampTz now, const CpmPolicy *policy, bool is_trusted);
extern void cpm_slot_close(TimestampTz now, CpmSessionEnd how);

/*
 * Copy the name of the session's role, and whether it is a superuser or a member of
 * pg_read_all_data. The name is empty for a session counted in "(other)". Returns false if the
 * session has no slot. role has room for NAMEDATALEN bytes. Any process; no lock.
 */
extern bool cpm_slot_role(int proc_number, int pid, bool *is_trusted, char *role);

/* Go over to the pool of the application_name that is set now, if it is another. */
extern void cpm_slot_change_pool(TimestampTz now);

/* Look up the own pool again with the next statement, because application_grouping has changed. */
extern void cpm_slot_forget_application(void);

/* The policy that is set for the own session has changed. */
extern void cpm_slot_set_policy(const CpmPolicy *policy);

/* The own session has used a feature so often: its pool has. Takes no lock. */
extern void cpm_slot_count_feature(CpmFeature feature, uint64 uses, TimestampTz now);

/* A feature for which the own session stays, though it is idle: it listens, or holds a lock. */
extern void cpm_slot_note_duty(CpmFeature feature, bool is_on);

/* The first statement of the tick, or the longest, and perhaps so since the reset. */
extern void cpm_slot_raise_max(uint32 tick, uint64 us);

static inline bool
cpm_slot_is_open(void)
{
	return cpm_own_slot.counters != NULL;
}

/*
 * Is the application_name that PostgreSQL shows for this process now still the one
 * by which its pool was found? The content is compared, in words: a string that is set anew may
 * be where the one before was. Both have room for whole words.
 */
static inline bool
cpm_slot_is_in_its_pool(void)
{
	const char *shown = cpm_own_slot.shown_name;
	const char *known = cpm_own_slot.application_name;
	int			word = cpm_own_slot.last_word;
	uint64		mask = cpm_own_slot.last_word_mask;

	for (;;)
	{
		uint64		a;
		uint64		b;

		memcpy(&a, shown + word * sizeof(a), sizeof(a));
		memcpy(&b, known + word * sizeof(b), sizeof(b));
		if (((a ^ b) & mask) != 0)
			return false;
		if (word == 0)
			return true;
		word--;
		mask = PG_UINT64_MAX;
	}
}

/* Add where nobody else writes: cheaper than an atomic addition, and enough. */
static inline void
cpm_slot_add(pg_atomic_uint64 *counter, uint64 amount)
{
	pg_atomic_write_u64(counter, pg_atomic_read_u64(counter) + amount);
}

static inline void
cpm_slot_count(CpmCount count, uint64 amount)
{
	cpm_slot_add(&cpm_own_slot.count[count], amount);
}

/* A statement has ended. A few dozen instructions: every statement comes here. */
static inline void
cpm_slot_count_statement(uint64 elapsed_us, bool failed)
{
	pg_atomic_uint64 *count = cpm_own_slot.count;
	unsigned int bucket = cpm_bucket_of(elapsed_us);
	uint32		tick = (uint32) pg_atomic_read_u64(&count[CPM_TICK_INDEX]);

	cpm_slot_add(&cpm_own_slot.counters->bucket[bucket], 1);
	pg_atomic_write_u64(&count[CPM_TOUCHED_INDEX], pg_atomic_read_u64(&count[CPM_TOUCHED_INDEX]) |
						UINT64CONST(1) << (bucket / CPM_SUB_BUCKETS));
	cpm_slot_add(&count[CPM_QUERIES], 1);
	cpm_slot_add(&count[CPM_QUERY_TIME_US], elapsed_us);
	if (unlikely(failed))
		cpm_slot_add(&count[CPM_FAILED_QUERIES], 1);
	if (unlikely(elapsed_us > cpm_own_slot.longest_us || tick != cpm_own_slot.last_tick))
		cpm_slot_raise_max(tick, elapsed_us);
}

/* Return the names of the own session: those of its pool, but its application_name in full. */
extern CpmPoolName cpm_slot_session_name(void);

/* Readers: any process, no lock, zeros when the library is not preloaded. */

/* Of all sessions since the server started, and what was loaded then; they never fall. */
extern CpmQueryCounts cpm_slots_counts(void);
extern void cpm_slots_histogram(CpmHistogram *histogram);

/* What was counted before the server started. The postmaster, before anybody else is there. */
extern void cpm_slots_load(const CpmQueryCounts *counts, const CpmHistogram *histogram, int64 max_us);

/* The longest statement since peaks were last reset; 0 for none. */
extern int64 cpm_slots_max_us(void);
extern void cpm_slots_reset_max(void);

/*
 * The longest statement of each tick: a stretch of time that ends when the
 * sampler begins the next. Only the running tick and the one before it are known.
 */
extern uint32 cpm_slots_tick(void);
extern int64 cpm_slots_tick_max_us(uint32 tick);
extern void cpm_slots_next_tick(void);

/* The session whose PGPROC has that number; false when there is none, or no slot. */
extern bool cpm_slot_session(int proc_number, CpmSlotSession *session);

/* Only its pool, or -1; as cheap as it can be. */
extern int	cpm_slot_pool(int proc_number, int pid);

/*
 * How many open sessions a role has in a database (cpm_pool_owner()), also those whose
 * pool found no place. Looks at each slot.
 */
extern int	cpm_slots_of_owner(uint64 owner);

/* Has the session of that PGPROC, which has that pid, a duty? */
extern bool cpm_slot_has_duty(int proc_number, int pid);

extern int	cpm_backend_slots(void);

/* A hint that the slot of that number will be asked for in a moment; any number. */
extern void cpm_slot_prefetch(int proc_number);

/*
 * Add to a pool what the session of that PGPROC has counted in it and not yet
 * given to it. Between two looks at cpm_transfers_are_done().
 */
extern void cpm_slot_add_to_pool(int proc_number, CpmPool *pools_by_index);

/* Only its counts; at any moment, for who needs no sums. */
extern void cpm_slot_add_counts(int proc_number, CpmQueryCounts *counts_by_index);

#endif							/* CPM_BACKEND_COUNTERS_H */
