/* SPDX-License-Identifier: PostgreSQL */
/*
 * backend_counters.c
 *		A slot for each backend, in which it counts what it does.
 *
 * Indexed by the number of the PGPROC. Its owner alone writes it, so counting
 * is a load, an addition and a store; readers take what they find. Counters go
 * on from one session of a slot to the next and never return to zero: what the
 * server has counted is the sum over all slots, exact at any moment, and no
 * session has to be evicted into it.
 *
 * What belongs to the session, and to its present pool, is the difference to
 * where the counters stood when it opened or came into the pool. Leaving a
 * pool, the session gives that difference to it (counters/pool_table) and moves the
 * mark; a reader who sums pools and slots meanwhile notices the move and reads
 * again.
 *
 * A maximum cannot be subtracted. Each is stored in one word with the number
 * of the stretch of time that it is of (a tick of the sampler, the time since a
 * reset); its owner starts anew when that changes.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/seqlock.h"
#include "base/settings.h"
#include "counters/backend_counters.h"
#include "counters/counter_transfer.h"
#include "counters/pool_counters.h"
#include "counters/pool_owners.h"
#include "counters/pool_table.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#define SLOTS_AHEAD 6			/* a slot's buckets are on their way when those are so many places
								 * on */
#define RECENT_POOLS 4			/* that a session comes back to without a lookup */

typedef struct Slot
{
	CpmSlotCounters counters pg_attribute_aligned(64);	/* written by the owner at every statement */

	/* written by the owner when it opens, closes or changes pools */
	CpmSeqlock	lock;			/* guards what follows, but for the two last */
	int			pid;			/* 0: nobody's */
	int			pool;
	TimestampTz started_at;
	int64		setup_us;
	CpmPolicy	policy;
	uint64		policy_sequence;	/* of its opening, or of the last change of its policy */
	uint64		owner;			/* cpm_pool_owner() of its role and database */
	bool		is_trusted;		/* its role is a superuser or a member of pg_read_all_data */
	uint64		session_base[CPM_COUNTS];
	uint64		pool_base[CPM_COUNTS];
	pg_atomic_uint32 duties;	/* a bit for each CpmFeature */
	uint64		pool_bucket_base[CPM_BUCKETS] pg_attribute_aligned(64); /* read between two looks
																		 * at moves only */
} Slot;

typedef struct Slots
{
	pg_atomic_uint32 tick;		/* the sampler and a reset count it up */
	pg_atomic_uint32 reset_epoch;	/* a reset counts it up */
	int			places;			/* set at start, and so is what was loaded from before */
	CpmQueryCounts loaded_counts;
	CpmHistogram loaded_histogram;
	pg_atomic_uint64 loaded_max;	/* as in CpmSlotCounters */
	Slot		slot[FLEXIBLE_ARRAY_MEMBER];
} Slots;

/* A line of the cache for each slot, side by side, so that a sum over a thousand is a walk and not a hunt. */
typedef struct SlotCounts
{
	pg_atomic_uint64 of[8];		/* by CpmCount, and at CPM_TICK_INDEX and behind it */
} SlotCounts;

StaticAssertDecl(CPM_TOUCHED_INDEX < 8, "counts of a slot do not fit");
StaticAssertDecl(CPM_BUCKETS / CPM_SUB_BUCKETS <= 64, "octaves do not fit in a word");

typedef struct RecentPool
{
	char		application_name[NAMEDATALEN];
	CpmPoolRef	ref;
	bool		is_used;
} RecentPool;

static Slots *slots;
static SlotCounts *slot_counts; /* by slot; behind the slots in shared memory */

/* of this process */
CpmOwnSlot	cpm_own_slot CPM_HOT_DATA;
static Slot *mine;				/* NULL while cpm_own_slot.counters is */
static CpmPoolName my_pool;
static RecentPool recent_pools[RECENT_POOLS];
static int	next_recent;

Size
cpm_slots_size(void)
{
	return add_size(CACHELINEALIGN(offsetof(Slots, slot) + MaxBackends * sizeof(Slot)),
					mul_size(MaxBackends, sizeof(SlotCounts)));
}

static void
init_slot(Slot *slot)
{
	for (int i = 0; i < CPM_BUCKETS; i++)
		pg_atomic_init_u64(&slot->counters.bucket[i], 0);
	pg_atomic_init_u64(&slot->counters.max_since_reset, 0);
	pg_atomic_init_u64(&slot->counters.max_of_tick, 0);
	pg_atomic_init_u64(&slot->counters.max_of_earlier_tick, 0);
	pg_atomic_init_u32(&slot->duties, 0);
	cpm_seqlock_init(&slot->lock);
}

void
cpm_slots_attach(void *memory, bool is_new)
{
	slots = memory;
	slot_counts = (SlotCounts *) ((char *) memory +
								  CACHELINEALIGN(offsetof(Slots, slot) + MaxBackends * sizeof(Slot)));
	if (!is_new)
		return;
	memset(slots, 0, cpm_slots_size());
	slots->places = MaxBackends;
	pg_atomic_init_u32(&slots->tick, 1);
	pg_atomic_init_u32(&slots->reset_epoch, 1);
	pg_atomic_init_u64(&slots->loaded_max, 0);
	for (int i = 0; i < slots->places; i++)
	{
		init_slot(&slots->slot[i]);
		for (int j = 0; j < CPM_COUNTS; j++)
			pg_atomic_init_u64(&slot_counts[i].of[j], 0);
		pg_atomic_init_u64(&slot_counts[i].of[CPM_TICK_INDEX], 1);
	}
}

static int64
max_value(pg_atomic_uint64 *max, uint32 stretch)
{
	uint64		current = pg_atomic_read_u64(max);

	return (current >> CPM_STRETCH_SHIFT) == (stretch & CPM_STRETCH_MASK) ? (int64) (current & CPM_MAX_US) : 0;
}

/* From here on counts belong to the present pool, and its policy is that of this session. */
static void
mark_pool_base(int pool)
{
	cpm_pool_set_policy(pool, &mine->policy, mine->policy_sequence);
	cpm_seqlock_write_begin(&mine->lock);
	mine->pool = pool;
	for (int i = 0; i < CPM_COUNTS; i++)
		mine->pool_base[i] = pg_atomic_read_u64(&cpm_own_slot.count[i]);
	cpm_seqlock_write_end(&mine->lock);
}

static void
give_buckets_to_pool(void)
{
	uint64		touched = pg_atomic_read_u64(&cpm_own_slot.count[CPM_TOUCHED_INDEX]);

	for (; touched != 0; touched &= touched - 1)
	{
		int			first = pg_rightmost_one_pos64(touched) * CPM_SUB_BUCKETS;

		for (int bucket = first; bucket < first + CPM_SUB_BUCKETS; bucket++)
		{
			uint64		count = pg_atomic_read_u64(&mine->counters.bucket[bucket]);

			if (count == mine->pool_bucket_base[bucket])
				continue;
			cpm_pool_add_bucket(mine->pool, bucket, count - mine->pool_bucket_base[bucket]);
			mine->pool_bucket_base[bucket] = count;
		}
	}
	pg_atomic_write_u64(&cpm_own_slot.count[CPM_TOUCHED_INDEX], 0);
}

/* Within a move: what was counted here and not yet given to the pool. */
static void
give_to_pool(void)
{
	for (int i = 0; i < CPM_COUNTS; i++)
	{
		uint64		amount = pg_atomic_read_u64(&cpm_own_slot.count[i]) - mine->pool_base[i];

		if (amount != 0)
			cpm_pool_add(mine->pool, i, amount);
	}
	give_buckets_to_pool();
}

static void
remember_pool(CpmPoolRef ref)
{
	RecentPool *place = &recent_pools[next_recent];

	next_recent = (next_recent + 1) % RECENT_POOLS;
	strlcpy(place->application_name, my_pool.application_name, NAMEDATALEN);
	place->ref = ref;
	place->is_used = true;
}

/*
 * Begin a move by coming into the pool named in my_pool, and return its index.
 * *locked tells whether the lock of counters/pool_table is to be released after it.
 */
static int
begin_in_pool(bool *locked)
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
	ref = cpm_pool_lock_and_find(&my_pool);
	*locked = true;
	cpm_transfer_begin();
	(void) cpm_pool_enter(ref);
	/* "(other)" is no pool to come back to: there may be a place by then */
	if (ref.index != CPM_OTHER_POOL)
		remember_pool(ref);
	return ref.index;
}

static void
end_in_pool(bool locked)
{
	cpm_transfer_end();
	if (locked)
		LWLockRelease(cpm_pools_lock());
}

/*
 * Name the pool after the application_name that PostgreSQL shows for this process now. Returns
 * false if the pool keeps its name.
 */
static bool
name_pool(void)
{
	char	   *name = cpm_own_slot.application_name;
	char		left[NAMEDATALEN];
	size_t		last_byte;
	uint64		mask = 0;

	/* names are keys of a hash table: no bytes left over after their end */
	memset(name, 0, NAMEDATALEN);
	strlcpy(name, MyBEEntry->st_appname, NAMEDATALEN);
	cpm_own_slot.shown_name = MyBEEntry->st_appname;
	memcpy(left, my_pool.application_name, NAMEDATALEN);
	cpm_pool_application(my_pool.application_name, name, cpm_application_grouping);

	last_byte = strlen(name);	/* its end, which counts too */
	memset(&mask, 0xFF, last_byte % sizeof(mask) + 1);
	cpm_own_slot.last_word = (int) (last_byte / sizeof(mask));
	cpm_own_slot.last_word_mask = mask;
	return strcmp(my_pool.application_name, left) != 0;
}

void
cpm_slot_open(TimestampTz now, const CpmPolicy *policy, bool is_trusted)
{
	bool		locked;

	memset(&my_pool, 0, sizeof(my_pool));
	strlcpy(my_pool.database, MyProcPort->database_name, NAMEDATALEN);
	strlcpy(my_pool.role, MyProcPort->user_name, NAMEDATALEN);
	(void) name_pool();

	cpm_transfers_wait_for_pause();
	mine = &slots->slot[cpm_proc_number(MyProc)];
	cpm_own_slot.count = slot_counts[cpm_proc_number(MyProc)].of;
	cpm_seqlock_write_begin(&mine->lock);
	mine->policy = *policy;
	mine->policy_sequence = cpm_policy_sequence();
	mine->owner = cpm_pool_owner(&my_pool);
	mine->is_trusted = is_trusted;
	mine->setup_us = Max(now - MyStartTimestamp, 0);
	cpm_seqlock_write_end(&mine->lock);
	pg_atomic_write_u32(&mine->duties, 0);
	mark_pool_base(begin_in_pool(&locked));
	cpm_pool_add_opened(mine->pool, (uint64) mine->setup_us, now);
	for (int i = 0; i < CPM_BUCKETS; i++)
		mine->pool_bucket_base[i] = pg_atomic_read_u64(&mine->counters.bucket[i]);
	pg_atomic_write_u64(&cpm_own_slot.count[CPM_TOUCHED_INDEX], 0);

	cpm_seqlock_write_begin(&mine->lock);
	for (int i = 0; i < CPM_COUNTS; i++)
		mine->session_base[i] = pg_atomic_read_u64(&cpm_own_slot.count[i]);
	mine->started_at = MyStartTimestamp;
	mine->pid = MyProcPid;
	cpm_seqlock_write_end(&mine->lock);
	end_in_pool(locked);
	cpm_own_slot.last_tick = 0;
	cpm_own_slot.counters = &mine->counters;
}

void
cpm_slot_close(TimestampTz now, CpmSessionEnd how)
{
	cpm_transfers_wait_for_pause();
	cpm_transfer_begin();
	give_to_pool();
	cpm_seqlock_write_begin(&mine->lock);
	mine->pid = 0;
	cpm_seqlock_write_end(&mine->lock);
	cpm_pool_add_ended(mine->pool, how, Max(now - MyStartTimestamp, 0));
	cpm_pool_leave(mine->pool, now);
	cpm_transfer_end();
	cpm_own_slot.counters = NULL;
	mine = NULL;
}

void
cpm_slot_change_pool(TimestampTz now)
{
	int			left = mine->pool;
	int			entered;
	bool		locked;

	if (cpm_slot_is_in_its_pool())
		return;
	/* "(other)" is left as soon as there is a place */
	if (!name_pool() && left != CPM_OTHER_POOL)
		return;
	cpm_transfers_wait_for_pause();
	entered = begin_in_pool(&locked);
	give_to_pool();
	mark_pool_base(entered);
	cpm_pool_leave(left, now);
	end_in_pool(locked);
}

void
cpm_slot_forget_application(void)
{
	/* differs from every name, because PostgreSQL shows ASCII only */
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
	cpm_pool_set_policy(mine->pool, policy, mine->policy_sequence);
}

void
cpm_slot_count_feature(CpmFeature feature, uint64 uses, TimestampTz now)
{
	cpm_pool_add_feature(mine->pool, feature, uses, now);
}

void
cpm_slot_note_duty(CpmFeature feature, bool is_on)
{
	uint32		duties = pg_atomic_read_u32(&mine->duties);
	uint32		bit = (uint32) 1 << feature;

	pg_atomic_write_u32(&mine->duties, is_on ? duties | bit : duties & ~bit);
}

/*
 * The slot may know of a longer one in this tick, of a session before. A reset
 * begins a new tick, so its epoch is looked at again after one.
 */
void
cpm_slot_raise_max(uint32 tick, uint64 us)
{
	CpmSlotCounters *counters = &mine->counters;
	uint64		last = pg_atomic_read_u64(&counters->max_of_tick);
	uint64		known = max_value(&counters->max_of_tick, tick);
	uint64		raised = Max(known, Min(us, CPM_MAX_US));
	uint32		epoch = pg_atomic_read_u32(&slots->reset_epoch);

	if (last >> CPM_STRETCH_SHIFT != (tick & CPM_STRETCH_MASK))
		pg_atomic_write_u64(&counters->max_of_earlier_tick, last);
	pg_atomic_write_u64(&counters->max_of_tick, (uint64) tick << CPM_STRETCH_SHIFT | raised);
	if ((uint64) max_value(&counters->max_since_reset, epoch) < raised)
		pg_atomic_write_u64(&counters->max_since_reset,
							(uint64) epoch << CPM_STRETCH_SHIFT | raised);
	cpm_own_slot.last_tick = tick;
	cpm_own_slot.longest_us = raised;
}

CpmPoolName
cpm_slot_session_name(void)
{
	CpmPoolName name = my_pool;

	memcpy(name.application_name, cpm_own_slot.application_name, NAMEDATALEN);
	return name;
}

CpmQueryCounts
cpm_slots_counts(void)
{
	CpmQueryCounts sum = {0};

	if (slots != NULL)
		sum = slots->loaded_counts;
	for (int i = 0; slots != NULL && i < slots->places; i++)
		for (int j = 0; j < CPM_COUNTS; j++)
			sum.of[j] += pg_atomic_read_u64(&slot_counts[i].of[j]);
	return sum;
}

void
cpm_slots_histogram(CpmHistogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	if (slots != NULL)
		*histogram = slots->loaded_histogram;
	for (int i = 0; slots != NULL && i < slots->places; i++)
		for (int j = 0; j < CPM_BUCKETS; j++)
			histogram->count[j] += pg_atomic_read_u64(&slots->slot[i].counters.bucket[j]);
}

int64
cpm_slots_max_us(void)
{
	uint32		epoch = slots ? pg_atomic_read_u32(&slots->reset_epoch) : 0;
	int64		longest = slots ? max_value(&slots->loaded_max, epoch) : 0;

	for (int i = 0; slots != NULL && i < slots->places; i++)
	{
		int64		its = max_value(&slots->slot[i].counters.max_since_reset, epoch);

		longest = Max(longest, its);
	}
	return longest;
}

void
cpm_slots_load(const CpmQueryCounts *counts, const CpmHistogram *histogram, int64 max_us)
{
	uint64		epoch = pg_atomic_read_u32(&slots->reset_epoch);

	slots->loaded_counts = *counts;
	slots->loaded_histogram = *histogram;
	pg_atomic_write_u64(&slots->loaded_max,
						epoch << CPM_STRETCH_SHIFT | Min((uint64) max_us, CPM_MAX_US));
}

void
cpm_slots_reset_max(void)
{
	pg_atomic_fetch_add_u32(&slots->reset_epoch, 1);
	cpm_slots_next_tick();
}

uint32
cpm_slots_tick(void)
{
	return slots ? pg_atomic_read_u32(&slots->tick) : 0;
}

int64
cpm_slots_tick_max_us(uint32 tick)
{
	int64		longest = 0;

	for (int i = 0; slots != NULL && i < slots->places; i++)
	{
		CpmSlotCounters *counters = &slots->slot[i].counters;
		int64		last = max_value(&counters->max_of_tick, tick);
		int64		earlier = max_value(&counters->max_of_earlier_tick, tick);

		longest = Max(longest, Max(last, earlier));
	}
	return longest;
}

/*
 * Every slot is told, so that a statement need not look elsewhere. The sampler
 * and a reset may do so at once: what counts is the later one.
 */
void
cpm_slots_next_tick(void)
{
	uint64		tick = pg_atomic_fetch_add_u32(&slots->tick, 1) + 1;

	for (int i = 0; i < slots->places; i++)
	{
		pg_atomic_uint64 *place = &slot_counts[i].of[CPM_TICK_INDEX];
		uint64		known = pg_atomic_read_u64(place);

		while (known < tick && !pg_atomic_compare_exchange_u64(place, &known, tick))
			;
	}
}

int
cpm_backend_slots(void)
{
	return slots ? slots->places : 0;
}

bool
cpm_slot_session(int proc_number, CpmSlotSession *session)
{
	Slot	   *slot;
	uint32		before;

	if (slots == NULL || proc_number < 0 || proc_number >= slots->places)
		return false;
	slot = &slots->slot[proc_number];
	for (int tries = 0; tries < 1000; tries++)
	{
		before = cpm_seqlock_read_begin(&slot->lock);
		session->pid = slot->pid;
		session->started_at = slot->started_at;
		session->pool = slot->pool;
		session->setup_us = slot->setup_us;
		session->policy = slot->policy;
		session->is_trusted = slot->is_trusted;
		for (int i = 0; i < CPM_COUNTS; i++)
			session->counts.of[i] = pg_atomic_read_u64(&slot_counts[proc_number].of[i]) - slot->session_base[i];
		if (cpm_seqlock_read_ok(&slot->lock, before))
			return session->pid != 0;
	}
	return false;				/* its owner was stopped in the middle of a change */
}

bool
cpm_slot_role(int proc_number, int pid, bool *is_trusted, char *role)
{
	CpmSlotSession session;
	CpmPoolName name;

	if (!cpm_slot_session(proc_number, &session) || session.pid != pid)
		return false;
	*is_trusted = session.is_trusted;
	role[0] = '\0';
	if (session.pool != CPM_OTHER_POOL && cpm_pool_name(session.pool, &name))
		strlcpy(role, name.role, NAMEDATALEN);
	return true;
}

int
cpm_slot_pool(int proc_number, int pid)
{
	if (slots == NULL || proc_number < 0 || proc_number >= slots->places ||
		slots->slot[proc_number].pid != pid)
		return -1;
	return slots->slot[proc_number].pool;
}

int
cpm_slots_of_owner(uint64 owner)
{
	int			count = 0;

	for (int i = 0; slots != NULL && i < slots->places; i++)
		count += slots->slot[i].pid != 0 && slots->slot[i].owner == owner;
	return count;
}

bool
cpm_slot_has_duty(int proc_number, int pid)
{
	return cpm_slot_pool(proc_number, pid) >= 0 &&
		pg_atomic_read_u32(&slots->slot[proc_number].duties) != 0;
}

/* The same of what cpm_slot_prefetch() has brought by now: the buckets it has counted in. */
static void
prefetch_buckets(int proc_number)
{
	const Slot *slot;
	uint64		touched;

	if (proc_number < 0 || proc_number >= slots->places)
		return;
	slot = &slots->slot[proc_number];
	touched = slot->pid != 0 ? pg_atomic_read_u64(&slot_counts[proc_number].of[CPM_TOUCHED_INDEX]) : 0;
	for (; touched != 0; touched &= touched - 1)
	{
		int			first = pg_rightmost_one_pos64(touched) * CPM_SUB_BUCKETS;

		cpm_prefetch(&slot->counters.bucket[first]);
		cpm_prefetch(&slot->pool_bucket_base[first]);
	}
}

void
cpm_slot_prefetch(int proc_number)
{
	const Slot *slot;

	prefetch_buckets(proc_number - SLOTS_AHEAD);
	if (proc_number >= slots->places)
		return;
	slot = &slots->slot[proc_number];
	cpm_prefetch(&slot->pid);
	cpm_prefetch(slot->pool_base);
	cpm_prefetch(&slot_counts[proc_number]);
}

/* Where a reader found no quiet, the two may be of before and after a move. */
static uint64
counted_since(uint64 count, uint64 base)
{
	return count - Min(count, base);
}

void
cpm_slot_add_counts(int proc_number, CpmQueryCounts *counts_by_index)
{
	const Slot *slot = &slots->slot[proc_number];
	int			pool = slot->pool;

	if (slot->pid == 0 || pool < 0)
		return;
	for (int i = 0; i < CPM_COUNTS; i++)
		counts_by_index[pool].of[i] += counted_since(pg_atomic_read_u64(&slot_counts[proc_number].of[i]),
													 slot->pool_base[i]);
}

void
cpm_slot_add_to_pool(int proc_number, CpmPool *pools_by_index)
{
	Slot	   *slot = &slots->slot[proc_number];
	CpmPool    *pool;
	uint64		touched;

	if (slot->pid == 0 || slot->pool < 0)
		return;
	pool = &pools_by_index[slot->pool];
	for (int i = 0; i < CPM_COUNTS; i++)
		pool->counts.of[i] += pg_atomic_read_u64(&slot_counts[proc_number].of[i]) - slot->pool_base[i];
	touched = pg_atomic_read_u64(&slot_counts[proc_number].of[CPM_TOUCHED_INDEX]);
	for (; touched != 0; touched &= touched - 1)
	{
		int			first = pg_rightmost_one_pos64(touched) * CPM_SUB_BUCKETS;

		for (int i = first; i < first + CPM_SUB_BUCKETS; i++)
			pool->histogram.count[i] += pg_atomic_read_u64(&slot->counters.bucket[i]) -
				slot->pool_bucket_base[i];
	}
}
