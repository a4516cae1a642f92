/* SPDX-License-Identifier: PostgreSQL */
/*
 * backend_counters.c
 *		A slot for each backend, in which it counts its statements and transactions.
 *
 * Counting must cost a statement almost nothing. So each backend has a slot, at the index of its
 * PGPROC, whose counts it alone writes. To count, it loads, adds and stores. Readers take no lock.
 *
 * No session resets a slot's counts, not even a new occupant of the slot, so their sum over all
 * slots is the server's total. A session's own counts, and those in its current pool, are the
 * difference from a base: the counts when it opened or entered the pool. A session that leaves a
 * pool adds that difference to the pool and sets a new base. The buckets of its histogram have no
 * base: it adds them to the pool and clears them. Every such addition is a transfer
 * (counters/counter_transfer), so that a reader that sums pools and slots meanwhile retries.
 *
 * Unlike its counts, the maximum of a period cannot be computed as a difference. So one word
 * stores a maximum with the number of its period. A period is either a tick, which lasts ten
 * seconds, or an epoch, which lasts from one reset to the next. The owner of the slot begins each
 * period at zero.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/seqlock.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "counters/counter_transfer.h"
#include "counters/pool_counters.h"
#include "counters/pool_policies.h"
#include "counters/pool_table.h"
#include "counters/slot_array.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/backend_status.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define RECENT_POOLS 4			/* pools that a session enters again without a lookup */
#define NO_POOL (-1)
#define WAIT_WAS_FATAL (UINT64CONST(1) << 31)	/* an SQLSTATE has 30 bits */

StaticAssertDecl(CPM_TOUCHED_INDEX < 8, "counts of a slot do not fit");
StaticAssertDecl(CPM_BUCKETS / CPM_SUB_BUCKETS <= 64, "octaves do not fit in a word");

typedef struct RecentPool
{
	char		application_name[NAMEDATALEN];
	CpmPoolRef	ref;
	bool		is_used;
} RecentPool;

CpmSlotArray *cpm_slot_array;
CpmSlotCounts *cpm_slot_counts;
CpmSlotOccupant *cpm_slot_occupants;

/* of this process */
CpmOwnSlot	cpm_own_slot CPM_HOT_DATA;
static CpmSlot *mine;			/* NULL while this process has no slot */
static CpmSlotOccupant *my_occupant;	/* of the same slot */
static CpmPoolName my_pool;		/* name of the pool that the session is in or enters now */
static RecentPool recent_pools[RECENT_POOLS];
static int	next_recent;

static Size
counts_offset(void)
{
	return CACHELINEALIGN(offsetof(CpmSlotArray, slot) + MaxBackends * sizeof(CpmSlot));
}

Size
cpm_slots_size(void)
{
	return add_size(counts_offset(),
					mul_size(MaxBackends, sizeof(CpmSlotCounts) + sizeof(CpmSlotOccupant)));
}

static void
init_slot(CpmSlot *slot)
{
	for (int i = 0; i < CPM_BUCKETS; i++)
		pg_atomic_init_u32(&slot->counters.bucket[i], 0);
	pg_atomic_init_u64(&slot->counters.max_since_reset, 0);
	pg_atomic_init_u64(&slot->counters.max_of_tick, 0);
	pg_atomic_init_u64(&slot->counters.max_of_earlier_tick, 0);
	for (int i = 0; i < CPM_SLOT_FAILED_WAITS; i++)
	{
		pg_atomic_init_u64(&slot->failed_wait[i].since, 0);
		pg_atomic_init_u64(&slot->failed_wait[i].error, 0);
	}
	pg_atomic_init_u32(&slot->failed_waits, 0);
	cpm_seqlock_init(&slot->lock);
}

void
cpm_slots_attach(void *memory, bool is_new)
{
	cpm_slot_array = memory;
	cpm_slot_counts = (CpmSlotCounts *) ((char *) memory + counts_offset());
	cpm_slot_occupants = (CpmSlotOccupant *) &cpm_slot_counts[MaxBackends];
	if (!is_new)
		return;
	memset(cpm_slot_array, 0, cpm_slots_size());
	cpm_slot_array->total = MaxBackends;
	pg_atomic_init_u32(&cpm_slot_array->tick, 1);
	pg_atomic_init_u32(&cpm_slot_array->reset_epoch, 1);
	pg_atomic_init_u64(&cpm_slot_array->loaded_max, 0);
	for (int i = 0; i < cpm_slot_array->total; i++)
	{
		init_slot(&cpm_slot_array->slot[i]);
		pg_atomic_init_u32(&cpm_slot_occupants[i].idle_reasons, 0);
		for (int j = 0; j < CPM_COUNTS; j++)
			pg_atomic_init_u64(&cpm_slot_counts[i].of[j], 0);
		pg_atomic_init_u64(&cpm_slot_counts[i].of[CPM_TICK_INDEX], 1);
	}
}

/*
 * Record the pool that the session has entered: begin a new base of its counts, and copy its
 * policy to the pool. Call inside a transfer.
 */
static void
set_current_pool(int pool)
{
	cpm_pool_set_policy(pool, &mine->policy, mine->policy_sequence);
	cpm_seqlock_write_begin(&mine->lock);
	my_occupant->pool = pool;
	for (int i = 0; i < CPM_COUNTS; i++)
		my_occupant->pool_base[i] = pg_atomic_read_u64(&cpm_own_slot.count[i]);
	cpm_seqlock_write_end(&mine->lock);
}

/* Add the session's buckets to its pool and clear them. Call inside a transfer. */
static void
add_buckets_to_pool(void)
{
	uint64		touched = pg_atomic_read_u64(&cpm_own_slot.count[CPM_TOUCHED_INDEX]);

	for (; touched != 0; touched &= touched - 1)
	{
		int			first = pg_rightmost_one_pos64(touched) * CPM_SUB_BUCKETS;

		for (int bucket = first; bucket < first + CPM_SUB_BUCKETS; bucket++)
		{
			uint32		count = pg_atomic_read_u32(&mine->counters.bucket[bucket]);

			if (count == 0)
				continue;
			cpm_pool_add_bucket(my_occupant->pool, bucket, count);
			pg_atomic_write_u32(&mine->counters.bucket[bucket], 0);
		}
	}
	pg_atomic_write_u64(&cpm_own_slot.count[CPM_TOUCHED_INDEX], 0);
}

/*
 * Add the session's counts since it entered the pool to that pool. Call inside a transfer.
 * Before the transfer ends, set a new base or close the slot; otherwise readers would count twice.
 */
static void
add_counts_to_pool(void)
{
	for (int i = 0; i < CPM_COUNTS; i++)
	{
		uint64		amount = pg_atomic_read_u64(&cpm_own_slot.count[i]) - my_occupant->pool_base[i];

		if (amount != 0)
			cpm_pool_add(my_occupant->pool, i, amount);
	}
	add_buckets_to_pool();
}

static void
remember_pool(CpmPoolRef ref)
{
	RecentPool *recent = &recent_pools[next_recent];

	next_recent = (next_recent + 1) % RECENT_POOLS;
	strlcpy(recent->application_name, my_pool.application_name, NAMEDATALEN);
	recent->ref = ref;
	recent->is_used = true;
}

/*
 * Begin a transfer, enter the pool named in my_pool and return its index. "current" is the index
 * of the pool that the session is in, or NO_POOL. If the lookup returns the same pool, the session
 * does not enter it again, because the pool's peak would count the session twice. Sets *locked to
 * true if the caller now holds the lock of counters/pool_table. end_transfer() ends the transfer
 * and releases the lock.
 */
static int
begin_transfer_into_pool(int current, bool *locked)
{
	CpmPoolRef	ref;

	*locked = false;
	for (int i = 0; i < RECENT_POOLS; i++)
	{
		RecentPool *recent = &recent_pools[i];

		if (!recent->is_used ||
			strcmp(recent->application_name, my_pool.application_name) != 0)
			continue;
		cpm_transfer_begin();
		if (cpm_pool_enter(recent->ref))
			return recent->ref.index;
		cpm_transfer_end();
		recent->is_used = false;
	}
	ref = cpm_pool_lock_and_find(&my_pool, GetAuthenticatedUserId());
	*locked = true;
	cpm_transfer_begin();
	if (ref.index != current)
		(void) cpm_pool_enter(ref);
	/* do not remember "(other)", because the pool in my_pool may get a slot next time */
	if (ref.index != CPM_OTHER_POOL)
		remember_pool(ref);
	return ref.index;
}

static void
end_transfer(bool locked)
{
	cpm_transfer_end();
	if (locked)
		LWLockRelease(cpm_pools_lock());
}

/*
 * Set the application of my_pool from the application_name that pg_stat_activity shows for this
 * process. Returns true if the application of my_pool has changed.
 */
static bool
name_pool(void)
{
	char	   *name = cpm_own_slot.application_name;
	char		previous[NAMEDATALEN];
	size_t		last_byte;
	uint64		mask = 0;

	/* names are hash keys, so bytes after their end must be zero */
	memset(name, 0, NAMEDATALEN);
	strlcpy(name, MyBEEntry->st_appname, NAMEDATALEN);
	cpm_own_slot.shown_name = MyBEEntry->st_appname;
	memcpy(previous, my_pool.application_name, NAMEDATALEN);
	cpm_pool_application(my_pool.application_name, name, cpm_application_grouping);

	last_byte = strlen(name);	/* the final zero, which is compared too */
	memset(&mask, 0xFF, last_byte % sizeof(mask) + 1);
	cpm_own_slot.last_word = (int) (last_byte / sizeof(mask));
	cpm_own_slot.last_word_mask = mask;
	return strcmp(my_pool.application_name, previous) != 0;
}

void
cpm_slot_open(int64 setup_us, const CpmPolicy *policy, bool is_trusted)
{
	bool		locked;

	memset(&my_pool, 0, sizeof(my_pool));
	strlcpy(my_pool.database, MyProcPort->database_name, NAMEDATALEN);
	strlcpy(my_pool.role, MyProcPort->user_name, NAMEDATALEN);
	(void) name_pool();

	cpm_transfers_wait_for_pause();
	mine = &cpm_slot_array->slot[cpm_proc_number(MyProc)];
	my_occupant = &cpm_slot_occupants[cpm_proc_number(MyProc)];
	cpm_own_slot.count = cpm_slot_counts[cpm_proc_number(MyProc)].of;
	cpm_seqlock_write_begin(&mine->lock);
	mine->policy = *policy;
	mine->policy_sequence = cpm_policy_sequence();
	mine->policy_key = cpm_policy_key(&my_pool);
	mine->is_trusted = is_trusted;
	memcpy(mine->role, my_pool.role, NAMEDATALEN);
	mine->setup_us = setup_us;
	cpm_seqlock_write_end(&mine->lock);
	pg_atomic_write_u32(&my_occupant->idle_reasons, 0);
	set_current_pool(begin_transfer_into_pool(NO_POOL, &locked));
	cpm_pool_add_opened(my_occupant->pool, (uint64) setup_us);

	cpm_seqlock_write_begin(&mine->lock);
	for (int i = 0; i < CPM_COUNTS; i++)
		mine->session_base[i] = pg_atomic_read_u64(&cpm_own_slot.count[i]);
	mine->started_at = MyStartTimestamp;
	my_occupant->pid = MyProcPid;
	cpm_seqlock_write_end(&mine->lock);
	end_transfer(locked);
	cpm_own_slot.last_tick = 0;
	cpm_own_slot.counters = &mine->counters;
}

void
cpm_slot_close(int64 lasted_us, CpmSessionEnd how)
{
	cpm_transfers_wait_for_pause();
	cpm_transfer_begin();
	add_counts_to_pool();
	cpm_seqlock_write_begin(&mine->lock);
	my_occupant->pid = 0;
	cpm_seqlock_write_end(&mine->lock);
	cpm_pool_add_ended(my_occupant->pool, how, (uint64) lasted_us);
	cpm_pool_leave(my_occupant->pool);
	cpm_transfer_end();
	cpm_own_slot.counters = NULL;
	mine = NULL;
	my_occupant = NULL;
}

void
cpm_slot_change_pool(void)
{
	int			left = my_occupant->pool;
	int			entered;
	bool		locked;

	if (cpm_slot_is_in_its_pool())
		return;
	/* a session in "(other)" looks up an unchanged name too, because a slot may be free now */
	if (!name_pool() && left != CPM_OTHER_POOL)
		return;
	cpm_transfers_wait_for_pause();
	entered = begin_transfer_into_pool(left, &locked);
	if (entered != left)
	{
		add_counts_to_pool();
		set_current_pool(entered);
		cpm_pool_leave(left);
	}
	end_transfer(locked);
}

void
cpm_slot_recheck_pool(void)
{
	/* differs from every application_name, because PostgreSQL makes these ASCII only */
	static const char no_name[NAMEDATALEN] = "\xff";

	cpm_own_slot.shown_name = no_name;
}

void
cpm_slot_set_policy(const CpmPolicy *policy)
{
	cpm_seqlock_write_begin(&mine->lock);
	mine->policy = *policy;
	cpm_seqlock_write_end(&mine->lock);
	mine->policy_sequence = cpm_policy_sequence();
	cpm_pool_set_policy(my_occupant->pool, policy, mine->policy_sequence);
}

void
cpm_slot_count_feature(CpmFeature feature, uint64 uses, TimestampTz now)
{
	cpm_pool_add_feature(my_occupant->pool, feature, uses, now);
}

void
cpm_slot_set_idle_reason(CpmFeature feature, bool is_on)
{
	uint32		idle_reasons = pg_atomic_read_u32(&my_occupant->idle_reasons);
	uint32		bit = (uint32) 1 << feature;

	pg_atomic_write_u32(&my_occupant->idle_reasons,
						is_on ? idle_reasons | bit : idle_reasons & ~bit);
}

/*
 * PostgreSQL sets waitStatus to an error when it removes a process from a lock's queue without
 * granting the lock, whatever the reason. The status lasts until the next wait. The start of the
 * deadlock timeout is the start of the wait that other processes see in the PGPROC.
 */
void
cpm_slot_record_failed_wait(int sqlstate, bool is_fatal)
{
	/* a parallel worker has no session, but the slot of its PGPROC is free for this */
	CpmSlot    *slot = mine ? mine : &cpm_slot_array->slot[cpm_proc_number(MyProc)];
	uint32		number = pg_atomic_read_u32(&slot->failed_waits);
	CpmSlotFailedWait *failed = &slot->failed_wait[(number - 1) % CPM_SLOT_FAILED_WAITS];
	uint64		error = (is_fatal ? WAIT_WAS_FATAL : 0) | (uint32) sqlstate;
	uint64		since;

	if (likely(MyProc->waitStatus != PROC_WAIT_STATUS_ERROR))
		return;
	since = (uint64) get_timeout_start_time(DEADLOCK_TIMEOUT);
	if (pg_atomic_read_u64(&failed->since) == since)
	{
		/*
		 * 0 means that the SQLSTATE is unknown, or that an exception block caught the error. The
		 * current error may be the same one, raised again.
		 */
		if (pg_atomic_read_u64(&failed->error) == 0)
			pg_atomic_write_u64(&failed->error, error);
		return;
	}
	failed = &slot->failed_wait[number % CPM_SLOT_FAILED_WAITS];
	pg_atomic_write_u64(&failed->since, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&failed->error, error);
	pg_write_barrier();
	pg_atomic_write_u64(&failed->since, since);
	pg_write_barrier();
	pg_atomic_write_u32(&slot->failed_waits, number + 1);
}

/*
 * The slot may already hold a longer maximum of this tick, set by its previous session. Statements
 * compare only the tick, and this function reads the epoch. That suffices to notice a reset,
 * because each reset begins a new tick, and the first statement of a tick calls this function.
 */
void
cpm_slot_raise_max(uint32 tick, uint64 us)
{
	CpmSlotCounters *counters = &mine->counters;
	uint64		last = pg_atomic_read_u64(&counters->max_of_tick);
	uint64		recorded = cpm_slot_max_us(&counters->max_of_tick, tick);
	uint64		raised = Max(recorded, Min(us, CPM_MAX_US));
	uint32		epoch = pg_atomic_read_u32(&cpm_slot_array->reset_epoch);

	if (last >> CPM_PERIOD_SHIFT != (tick & CPM_PERIOD_MASK))
		pg_atomic_write_u64(&counters->max_of_earlier_tick, last);
	pg_atomic_write_u64(&counters->max_of_tick, (uint64) tick << CPM_PERIOD_SHIFT | raised);
	if ((uint64) cpm_slot_max_us(&counters->max_since_reset, epoch) < raised)
		pg_atomic_write_u64(&counters->max_since_reset,
							(uint64) epoch << CPM_PERIOD_SHIFT | raised);
	cpm_own_slot.last_tick = tick;
	cpm_own_slot.longest_us = raised;
}

void
cpm_slot_empty_buckets(void)
{
	cpm_transfer_begin();
	add_buckets_to_pool();
	cpm_transfer_end();
}

CpmPoolName
cpm_slot_session_name(void)
{
	CpmPoolName name = my_pool;

	memcpy(name.application_name, cpm_own_slot.application_name, NAMEDATALEN);
	return name;
}

int
cpm_backend_slots(void)
{
	return cpm_slot_array ? cpm_slot_array->total : 0;
}

bool
cpm_slot_session(int proc_number, CpmSlotSession *session)
{
	CpmSlot    *slot;
	const CpmSlotOccupant *occupant;
	uint32		before;

	if (cpm_slot_array == NULL || proc_number < 0 || proc_number >= cpm_slot_array->total)
		return false;
	slot = &cpm_slot_array->slot[proc_number];
	occupant = &cpm_slot_occupants[proc_number];
	for (int tries = 0; tries < 1000; tries++)
	{
		before = cpm_seqlock_read_begin(&slot->lock);
		session->pid = occupant->pid;
		session->started_at = slot->started_at;
		session->pool = occupant->pool;
		session->setup_us = slot->setup_us;
		session->policy = slot->policy;
		session->is_trusted = slot->is_trusted;
		memcpy(session->role, slot->role, NAMEDATALEN);
		for (int i = 0; i < CPM_COUNTS; i++)
			session->counts.of[i] = pg_atomic_read_u64(&cpm_slot_counts[proc_number].of[i]) -
				slot->session_base[i];
		if (cpm_seqlock_read_ok(&slot->lock, before))
			return session->pid != 0;
	}
	return false;				/* the owner was stopped while it was writing */
}

bool
cpm_slot_role(int proc_number, int pid, bool *is_trusted, char *role)
{
	CpmSlotSession session;

	if (!cpm_slot_session(proc_number, &session) || session.pid != pid)
		return false;
	*is_trusted = session.is_trusted;
	memcpy(role, session.role, NAMEDATALEN);
	return true;
}

int
cpm_slot_pool(int proc_number, int pid)
{
	if (cpm_slot_array == NULL || proc_number < 0 || proc_number >= cpm_slot_array->total ||
		cpm_slot_occupants[proc_number].pid != pid)
		return -1;
	return cpm_slot_occupants[proc_number].pool;
}

int
cpm_slot_sessions_of_policy(uint64 policy_key)
{
	int			count = 0;

	for (int i = 0; cpm_slot_array != NULL && i < cpm_slot_array->total; i++)
		count += cpm_slot_occupants[i].pid != 0 &&
			cpm_slot_array->slot[i].policy_key == policy_key;
	return count;
}

bool
cpm_slot_failed_wait(int proc_number, TimestampTz since, CpmFailedWait *failed)
{
	for (int i = 0; i < CPM_SLOT_FAILED_WAITS; i++)
	{
		CpmSlotFailedWait *wait = &cpm_slot_array->slot[proc_number].failed_wait[i];
		uint64		error;

		if (pg_atomic_read_u64(&wait->since) != (uint64) since)
			continue;
		pg_read_barrier();
		error = pg_atomic_read_u64(&wait->error);
		pg_read_barrier();
		if (pg_atomic_read_u64(&wait->since) != (uint64) since)
			continue;
		failed->sqlstate = (int) (error & (WAIT_WAS_FATAL - 1));
		failed->was_fatal = (error & WAIT_WAS_FATAL) != 0;
		return true;
	}
	return false;
}

uint32
cpm_slot_failed_waits(int proc_number)
{
	return pg_atomic_read_u32(&cpm_slot_array->slot[proc_number].failed_waits);
}

bool
cpm_slot_has_idle_reason(int proc_number, int pid)
{
	return cpm_slot_pool(proc_number, pid) >= 0 &&
		pg_atomic_read_u32(&cpm_slot_occupants[proc_number].idle_reasons) != 0;
}

void
cpm_slot_prefetch_buckets(int proc_number)
{
	uint64		touched = 0;

	if (proc_number < cpm_slot_array->total && cpm_slot_occupants[proc_number].pid != 0)
		touched = pg_atomic_read_u64(&cpm_slot_counts[proc_number].of[CPM_TOUCHED_INDEX]);
	for (; touched != 0; touched &= touched - 1)
	{
		int			first = pg_rightmost_one_pos64(touched) * CPM_SUB_BUCKETS;

		cpm_prefetch(&cpm_slot_array->slot[proc_number].counters.bucket[first]);
	}
}

void
cpm_slot_prefetch_pool(int proc_number)
{
	if (cpm_slot_array != NULL && proc_number < cpm_slot_array->total)
		cpm_prefetch(&cpm_slot_occupants[proc_number]);
}

int
cpm_slot_pool_index(int proc_number)
{
	const CpmSlotOccupant *occupant = &cpm_slot_occupants[proc_number];

	return occupant->pid != 0 ? occupant->pool : -1;
}

void
cpm_slot_add_counts(int proc_number, CpmQueryCounts *counts)
{
	const CpmSlotOccupant *occupant = &cpm_slot_occupants[proc_number];

	for (int i = 0; i < CPM_COUNTS; i++)
	{
		uint64		count = pg_atomic_read_u64(&cpm_slot_counts[proc_number].of[i]);

		/* the base may be higher, because a transfer has raised it since the count was read */
		counts->of[i] += count - Min(count, occupant->pool_base[i]);
	}
}

void
cpm_slot_add_buckets(int proc_number, CpmHistogram *histogram)
{
	pg_atomic_uint32 *bucket = cpm_slot_array->slot[proc_number].counters.bucket;
	uint64		touched = pg_atomic_read_u64(&cpm_slot_counts[proc_number].of[CPM_TOUCHED_INDEX]);

	for (; touched != 0; touched &= touched - 1)
	{
		int			first = pg_rightmost_one_pos64(touched) * CPM_SUB_BUCKETS;

		for (int i = first; i < first + CPM_SUB_BUCKETS; i++)
			histogram->count[i] += pg_atomic_read_u32(&bucket[i]);
	}
}
