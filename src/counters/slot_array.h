/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot_array.h
 *		The slots of all backends in shared memory.
 *
 * Only counters/backend_counters and counters/slot_sums access the variables.
 */
#ifndef CPM_SLOT_ARRAY_H
#define CPM_SLOT_ARRAY_H

#include "base/attributes.h"
#include "base/histogram.h"
#include "base/policy.h"
#include "base/query_counts.h"
#include "base/seqlock.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"

/*
 * A maximum is one word. Its upper 24 bits are the low bits of the number of its period, its lower
 * 40 bits are microseconds, enough for 12 days. A period is a tick of ten seconds or the time
 * between two resets, so a number recurs only after five years.
 */
#define CPM_PERIOD_SHIFT 40
#define CPM_PERIOD_MASK ((UINT64CONST(1) << (64 - CPM_PERIOD_SHIFT)) - 1)
#define CPM_MAX_US ((UINT64CONST(1) << CPM_PERIOD_SHIFT) - 1)

/*
 * The owner of the slot writes these at every statement; no lock. The buckets hold the statements
 * since the session entered its pool, and are zero while the slot has no session. A bucket has 32
 * bits so that two octaves fill a cache line; before it would overflow, the owner adds all buckets
 * to the pool.
 */
typedef struct CpmSlotCounters
{
	pg_atomic_uint32 bucket[CPM_BUCKETS];
	pg_atomic_uint64 max_since_reset;
	pg_atomic_uint64 max_of_tick;	/* of the last tick in which a statement ended */
	pg_atomic_uint64 max_of_earlier_tick;	/* of the last such tick before that one */
} CpmSlotCounters;

/*
 * The number of the current tick follows the counts of a slot, because a statement writes that
 * cache line anyway. cpm_slots_next_tick() writes the number.
 */
#define CPM_TICK_INDEX CPM_COUNTS

/* The next word has a bit for each octave. If a bit is 0, all buckets of its octave are zero. */
#define CPM_TOUCHED_INDEX (CPM_COUNTS + 1)

#define CPM_SLOT_FAILED_WAITS 4 /* failed waits for locks that a slot keeps */

/* A failed wait. The owner of the slot writes it; readers check "since" before and after. */
typedef struct CpmSlotFailedWait
{
	pg_atomic_uint64 since;		/* TimestampTz of its beginning; 0: none */
	pg_atomic_uint64 error;		/* its SQLSTATE, and WAIT_WAS_FATAL if it ended the session */
} CpmSlotFailedWait;

typedef struct CpmSlot
{
	CpmSlotCounters counters pg_attribute_aligned(64);	/* written at every statement */

	/*
	 * The owner writes the fields up to session_base when it opens or closes the slot, or changes
	 * its policy, and the last two fields when a wait for a lock has failed. The seqlock guards
	 * copies of a session, which include pid and pool of the slot's CpmSlotOccupant.
	 */
	CpmSeqlock	lock;			/* guards started_at to session_base, except policy_sequence */
	TimestampTz started_at;
	int64		setup_us;
	CpmPolicy	policy;
	uint64		policy_sequence;	/* of the last change of the policy; read by the owner only */
	uint64		policy_key;		/* cpm_policy_key() of the role and database */
	bool		is_trusted;		/* the role is a superuser or has the privileges of
								 * pg_read_all_data */
	char		role[NAMEDATALEN];	/* needed because the name of "(other)" contains no role */
	uint64		session_base[CPM_COUNTS];	/* counts when the session opened */
	CpmSlotFailedWait failed_wait[CPM_SLOT_FAILED_WAITS];	/* never reset */
	pg_atomic_uint32 failed_waits;	/* number recorded so far; never reset. The next one goes to
									 * failed_wait[] at this number, modulo its size */
} CpmSlot;

typedef struct CpmSlotArray
{
	pg_atomic_uint32 tick;		/* the sampler and resets increment it */
	pg_atomic_uint32 reset_epoch;	/* resets increment it */
	int			total;			/* number of slots; this and the loaded_ fields are set at startup */
	CpmQueryCounts loaded_counts;	/* from before the server started */
	pg_atomic_uint64 loaded_max;	/* a maximum as in CpmSlotCounters, by reset_epoch */
	CpmSlot		slot[FLEXIBLE_ARRAY_MEMBER];
} CpmSlotArray;

/*
 * The counts of a slot fill a cache line. They are in a separate array, so that a sample, which
 * sums them over all slots, reads consecutive memory.
 */
typedef struct CpmSlotCounts
{
	pg_atomic_uint64 of[8];		/* by CpmCount, CPM_TICK_INDEX or CPM_TOUCHED_INDEX;
								 * cpm_slots_next_tick() writes the tick, the owner all others */
} CpmSlotCounts;

/*
 * The session in a slot. It fills a cache line of a separate array, so that a sample reads one
 * line for each session. The owner writes it when it opens or closes the slot, changes pools or
 * changes idle_reasons. The seqlock of the CpmSlot guards copies of pid and pool together with the
 * fields there. Functions that need one field, such as cpm_slot_pool(), read it without the
 * seqlock. Readers of pool_base compare the number of transfers instead.
 */
typedef struct CpmSlotOccupant
{
	int			pid;			/* 0 if the slot has no session */
	int			pool;			/* index of counters/pool_table */
	pg_atomic_uint32 idle_reasons;	/* a bit for each CpmFeature that cpm_slot_set_idle_reason()
									 * recorded */
	uint64		pool_base[CPM_COUNTS] pg_attribute_aligned(8);	/* counts when the session entered
																 * the pool */
} CpmSlotOccupant;

StaticAssertDecl(sizeof(CpmSlotOccupant) == 64, "an occupant does not fill a cache line");

/* NULL while the library is not preloaded */
extern CPM_INTERNAL CpmSlotArray *cpm_slot_array;

/* by slot; both follow the slots in shared memory */
extern CPM_INTERNAL CpmSlotCounts *cpm_slot_counts;
extern CPM_INTERNAL CpmSlotOccupant *cpm_slot_occupants;

/* Return a maximum in microseconds, or 0 if it belongs to another period. */
static inline int64
cpm_slot_max_us(pg_atomic_uint64 *max, uint32 period)
{
	uint64		current = pg_atomic_read_u64(max);

	if (current >> CPM_PERIOD_SHIFT != (period & CPM_PERIOD_MASK))
		return 0;
	return (int64) (current & CPM_MAX_US);
}

#endif							/* CPM_SLOT_ARRAY_H */
