/* SPDX-License-Identifier: PostgreSQL */
/*
 * backend_counters.h
 *		A slot for each backend, in which it counts its statements and transactions.
 */
#ifndef CPM_BACKEND_COUNTERS_H
#define CPM_BACKEND_COUNTERS_H

#include "base/attributes.h"
#include "base/histogram.h"
#include "base/pool.h"
#include "base/query_counts.h"
#include "base/slot_session.h"
#include "counters/slot_array.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"

/*
 * State of this process's own slot, in local memory. A statement reads the first cache line of
 * this struct, and the second one only if application_name has 16 bytes or more.
 */
typedef struct CpmOwnSlot
{
	CpmSlotCounters *counters;	/* in shared memory; NULL while this process has no slot */
	pg_atomic_uint64 *count;	/* in shared memory: CPM_COUNTS counts, then CPM_TICK_INDEX and
								 * CPM_TOUCHED_INDEX */
	const char *shown_name;		/* application_name as pg_stat_activity shows it */
	uint64		longest_us;		/* the longest statement of last_tick */
	uint32		last_tick;		/* the last tick in which a statement ended; 0 for none */
	int			last_word;		/* index of the 8-byte word in which application_name ends */
	uint64		last_word_mask; /* selects the name's bytes in that word, with the final zero */
	char		application_name[NAMEDATALEN];	/* the name from which the pool was determined,
												 * padded with zeros */
} CpmOwnSlot;

StaticAssertDecl(offsetof(CpmOwnSlot, application_name) <= 64, "more than a cache line");

extern CPM_INTERNAL CpmOwnSlot cpm_own_slot;

extern Size cpm_slots_size(void);
extern void cpm_slots_attach(void *memory, bool is_new);

/*
 * Open the calling backend's slot after authentication, and close it when the process exits. Call
 * the functions that follow only in between, unless noted otherwise. None raises an error. Opening
 * the slot and changing pools may take the lock of counters/pool_table. Opening, changing pools
 * and closing may wait for up to 20 ms (cpm_transfers_wait_for_pause()).
 */
extern void cpm_slot_open(int64 setup_us, const CpmPolicy *policy, bool is_trusted);
extern void cpm_slot_close(int64 lasted_us, CpmSessionEnd how);

/* Move the session to the pool of its application_name, if that has changed. */
extern void cpm_slot_change_pool(void);

/*
 * Make the next statement look up the session's pool again, because application_grouping has
 * changed. Has no effect in a process without a slot.
 */
extern void cpm_slot_recheck_pool(void);

/* Set the policy of the session and of its pool, because its settings have changed. */
extern void cpm_slot_set_policy(const CpmPolicy *policy);

/* Count uses of a feature in the session's pool. Takes no lock. */
extern void cpm_slot_count_feature(CpmFeature feature, uint64 uses, TimestampTz now);

/*
 * Record whether the session uses a feature (LISTEN, advisory locks) that is a legitimate reason
 * to keep the session open while it is idle.
 */
extern void cpm_slot_set_idle_reason(CpmFeature feature, bool is_on);

/*
 * If the last wait of this session or parallel worker for a heavyweight lock failed, record that
 * with the SQLSTATE of the current error, or 0 if it is unknown or an exception block has caught
 * the error. is_fatal is true if the error ends the session. If an earlier call recorded 0 for the
 * same wait, replaces the 0, because this may be the same error, raised again. Never replaces an
 * SQLSTATE. Takes no lock, so callers may hold LWLocks.
 */
extern void cpm_slot_record_failed_wait(int sqlstate, bool is_fatal);

/*
 * Record a statement that is the first or the longest of the tick. The second function adds all
 * buckets to the pool because one of them is full. cpm_slot_count_statement() calls both.
 */
extern void cpm_slot_raise_max(uint32 tick, uint64 us);
extern void cpm_slot_empty_buckets(void);

static inline bool
cpm_slot_is_open(void)
{
	return cpm_own_slot.counters != NULL;
}

/*
 * Return true if pg_stat_activity still shows the application_name from which this process has
 * determined its pool. Compares the strings and not their addresses, because a new value may be at
 * the address of the old one. Reading whole words is safe because both buffers have NAMEDATALEN
 * bytes.
 */
static inline bool
cpm_slot_is_in_its_pool(void)
{
	const char *shown = cpm_own_slot.shown_name;
	const char *name = cpm_own_slot.application_name;
	int			word = cpm_own_slot.last_word;
	uint64		mask = cpm_own_slot.last_word_mask;

	for (;;)
	{
		uint64		a;
		uint64		b;

		memcpy(&a, shown + word * sizeof(a), sizeof(a));
		memcpy(&b, name + word * sizeof(b), sizeof(b));
		if (((a ^ b) & mask) != 0)
			return false;
		if (word == 0)
			return true;
		word--;
		mask = PG_UINT64_MAX;
	}
}

/* Add to a counter that only this process writes; cheaper than an atomic addition. */
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

/* Count a statement that has ended. Must not take more than a few dozen instructions. */
static inline void
cpm_slot_count_statement(uint64 elapsed_us, bool failed)
{
	pg_atomic_uint64 *count = cpm_own_slot.count;
	unsigned int bucket = cpm_bucket_of(elapsed_us);
	uint32		tick = (uint32) pg_atomic_read_u64(&count[CPM_TICK_INDEX]);
	pg_atomic_uint32 *in_bucket = &cpm_own_slot.counters->bucket[bucket];
	uint32		increased = pg_atomic_read_u32(in_bucket) + 1;

	if (unlikely(increased == 0))
	{
		cpm_slot_empty_buckets();
		increased = 1;
	}
	pg_atomic_write_u32(in_bucket, increased);
	pg_atomic_write_u64(&count[CPM_TOUCHED_INDEX], pg_atomic_read_u64(&count[CPM_TOUCHED_INDEX]) |
						UINT64CONST(1) << (bucket / CPM_SUB_BUCKETS));
	cpm_slot_add(&count[CPM_QUERIES], 1);
	cpm_slot_add(&count[CPM_QUERY_TIME_US], elapsed_us);
	if (unlikely(failed))
		cpm_slot_add(&count[CPM_FAILED_QUERIES], 1);
	if (unlikely(elapsed_us > cpm_own_slot.longest_us || tick != cpm_own_slot.last_tick))
		cpm_slot_raise_max(tick, elapsed_us);
}

/* Return the name of the session's pool, but with its ungrouped application_name. */
extern CpmPoolName cpm_slot_session_name(void);

/*
 * Any process may call the functions that follow; they take no lock. If the library is not
 * preloaded, they find no slot and no session, unless their comment requires a preloaded library.
 */

/*
 * Copy the session whose PGPROC has the given number. Returns false if there is none, or if its
 * process was stopped while it was changing the slot.
 */
extern bool cpm_slot_session(int proc_number, CpmSlotSession *session);

/*
 * Return the index of the pool of the session with the given PGPROC and pid, or -1. Cheaper than
 * cpm_slot_session().
 */
extern int	cpm_slot_pool(int proc_number, int pid);

/*
 * Copy the name of the session's role to role, which has NAMEDATALEN bytes, and set *is_trusted to
 * true if the role is a superuser or has the privileges of pg_read_all_data. Returns false if the
 * session has no slot.
 */
extern bool cpm_slot_role(int proc_number, int pid, bool *is_trusted, char *role);

/*
 * Return the number of open sessions that share a policy, that is, all sessions of the role and
 * database with that cpm_policy_key(), including those counted in "(other)". Reads every slot.
 */
extern int	cpm_slot_sessions_of_policy(uint64 policy_key);

/* How a wait for a heavyweight lock failed. */
typedef struct CpmFailedWait
{
	int			sqlstate;		/* 0: unknown, or an exception block caught the error */
	bool		was_fatal;		/* the error ended the session */
} CpmFailedWait;

/*
 * Find the failed wait for a heavyweight lock that the given PGPROC began at "since", as
 * PostgreSQL recorded that time, and set *failed. Returns false if the slot has no such wait. A
 * slot keeps its last four failed waits, even after the session has ended. The library must be
 * preloaded.
 */
extern bool cpm_slot_failed_wait(int proc_number, TimestampTz since, CpmFailedWait *failed);

/*
 * Return how many failed waits the slot of that PGPROC has recorded since the server started. The
 * library must be preloaded.
 */
extern uint32 cpm_slot_failed_waits(int proc_number);

/*
 * Return true if the session with that PGPROC and pid has a legitimate reason to be idle; see
 * cpm_slot_set_idle_reason().
 */
extern bool cpm_slot_has_idle_reason(int proc_number, int pid);

/* Return the number of slots. A slot has the number of its PGPROC, and numbers start at 0. */
extern int	cpm_backend_slots(void);

/*
 * Prefetch the buckets of a slot that the caller will read soon. Ignores numbers beyond the last
 * slot. The library must be preloaded.
 */
extern void cpm_slot_prefetch_buckets(int proc_number);

/* Prefetch the fields that cpm_slot_pool() and cpm_slot_has_idle_reason() read. Any process. */
extern void cpm_slot_prefetch_pool(int proc_number);

/*
 * Return the index of the pool of the session in a slot; -1 if the slot has no session. The second
 * function adds the counts that the session still holds in the slot, the third its buckets. To get
 * sums that are consistent with the pools' own counters, call these between two calls of
 * cpm_transfers_are_done(). The library must be preloaded.
 */
extern int	cpm_slot_pool_index(int proc_number);
extern void cpm_slot_add_counts(int proc_number, CpmQueryCounts *counts);
extern void cpm_slot_add_buckets(int proc_number, CpmHistogram *histogram);

#endif							/* CPM_BACKEND_COUNTERS_H */
