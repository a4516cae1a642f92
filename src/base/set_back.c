/* SPDX-License-Identifier: PostgreSQL */
/*
 * set_back.c
 *		Corrects times that were recorded before the system clock was set back.
 *
 * PostgreSQL records when a session connected, and when its transaction, statement, state and
 * lock wait began. After the clock has been set back, ages computed from these times are too low.
 * Once the clock has passed such a time, nothing shows that it is from before the step. So when
 * the sampler detects a step, in either direction, it records the times of all sessions, with the
 * size of the step. A reader that finds one of these times unchanged subtracts that size.
 *
 * A step happens between two checks, whose times the sampler computes by the clock after the step.
 * A recorded time between these two may be from before the step or from after it, so it remains
 * uncorrected. A time in the future is always from before the step.
 *
 * The times in the extension's own records are corrected only if they are in the future, because a
 * time in the past may have been recorded after the step. The sampler rewrites the times in logs
 * when it detects the step. Times outside logs, such as last_seen, stay as recorded. While such a
 * time is in the future, cpm_past_time() corrects it whenever it is shown. The statistics file has
 * the size of the steps, so that the loader can correct its times.
 *
 * A session opens some time after its process has started, and the clock may be set meanwhile. So
 * cpm_process_started_us() converts the start by the offset of the clocks before or after the last
 * step, whichever was valid at the start.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/lock_wait.h"
#include "base/set_back.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/*
 * The sampler is the only writer: it clears "recorded", writes setback_us, then sets "recorded". A
 * reader that corrects a time uses setback_us only if "recorded" equals that time both before and
 * after it reads setback_us.
 */
typedef struct OldTime
{
	pg_atomic_uint64 recorded;	/* a TimestampTz; 0: none */
	pg_atomic_uint64 setback_us;	/* by how much the clock was set back since; an int64,
									 * negative if it was set forward */
} OldTime;

/* Written by the sampler. */
typedef struct SetBack
{
	pg_atomic_uint64 offset_us; /* an int64: system clock minus monotonic clock at the last check */
	pg_atomic_uint64 checked_us;	/* an int64: time of the last check, by the monotonic clock */
	pg_atomic_uint64 former_offset_us;	/* an int64: offset_us before the last step */
	pg_atomic_uint64 stepped_after_us;	/* an int64: checked_us before the last step; 0: none */
	pg_atomic_uint64 total_us;	/* sum of the steps back since the start, less later steps
								 * forward; never below 0 */
	pg_atomic_uint64 steps_us;	/* sum of all steps back, less all steps forward; an int64 */
	OldTime		old[FLEXIBLE_ARRAY_MEMBER]; /* CPM_RECORDED_TIMES for each PGPROC */
} SetBack;

static SetBack *set_back;		/* NULL if the library is not preloaded */

static int64
clock_offset_us(void)
{
	return GetCurrentTimestamp() - cpm_monotonic_us();
}

static bool
is_step(int64 forward_us)
{
	return forward_us >= CPM_MIN_STEP_US || forward_us <= -CPM_MIN_STEP_US;
}

static int
old_times(void)
{
	return CPM_WAITING_PROCS * CPM_RECORDED_TIMES;
}

Size
cpm_set_back_size(void)
{
	return add_size(offsetof(SetBack, old), mul_size(old_times(), sizeof(OldTime)));
}

void
cpm_set_back_attach(void *memory, bool is_new)
{
	set_back = memory;
	if (!is_new)
		return;
	pg_atomic_init_u64(&set_back->offset_us, (uint64) clock_offset_us());
	pg_atomic_init_u64(&set_back->checked_us, (uint64) cpm_monotonic_us());
	pg_atomic_init_u64(&set_back->former_offset_us, 0);
	pg_atomic_init_u64(&set_back->stepped_after_us, 0);
	pg_atomic_init_u64(&set_back->total_us, 0);
	pg_atomic_init_u64(&set_back->steps_us, 0);
	for (int i = 0; i < old_times(); i++)
	{
		pg_atomic_init_u64(&set_back->old[i].recorded, 0);
		pg_atomic_init_u64(&set_back->old[i].setback_us, 0);
	}
}

static void
write_old_time(OldTime *old, TimestampTz recorded, int64 setback_us)
{
	pg_atomic_write_u64(&old->recorded, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&old->setback_us, (uint64) setback_us);
	pg_write_barrier();
	pg_atomic_write_u64(&old->recorded, (uint64) recorded);
}

CpmClockStep
cpm_set_back_check(void)
{
	int64		checked_us = (int64) pg_atomic_read_u64(&set_back->checked_us);
	CpmClockStep step = {.checked_at = cpm_timestamp_of(checked_us)};
	int64		former_us = (int64) pg_atomic_read_u64(&set_back->offset_us);
	int64		offset_us = clock_offset_us();
	int64		forward_us = offset_us - former_us;
	int64		total_us = (int64) pg_atomic_read_u64(&set_back->total_us);
	bool		has_stepped = is_step(forward_us);

	step.now = GetCurrentTimestamp();
	if (has_stepped)
	{
		pg_atomic_write_u64(&set_back->former_offset_us, (uint64) former_us);
		pg_atomic_write_u64(&set_back->stepped_after_us, (uint64) checked_us);
		/* cpm_process_started_us() reads these two after the offset */
		pg_write_barrier();
	}
	pg_atomic_write_u64(&set_back->checked_us, (uint64) cpm_monotonic_us());
	pg_atomic_write_u64(&set_back->offset_us, (uint64) offset_us);
	if (!has_stepped)
		return step;
	step.setback_us = -forward_us;
	/* write the sums after the offset, so that no reader subtracts the step twice */
	pg_write_barrier();
	pg_atomic_write_u64(&set_back->total_us, (uint64) Max(total_us - forward_us, 0));
	pg_atomic_write_u64(&set_back->steps_us,
						(uint64) ((int64) pg_atomic_read_u64(&set_back->steps_us) - forward_us));
	return step;
}

void
cpm_set_back_record(int proc_number, const CpmClockStep *step, const TimestampTz *recorded)
{
	for (int i = 0; i < CPM_RECORDED_TIMES; i++)
	{
		OldTime    *old = &set_back->old[proc_number * CPM_RECORDED_TIMES + i];
		bool		may_be_new = recorded[i] >= step->checked_at && recorded[i] <= step->now;

		if (recorded[i] == 0)
			continue;
		if ((TimestampTz) pg_atomic_read_u64(&old->recorded) == recorded[i])
			write_old_time(old, recorded[i], (int64) pg_atomic_read_u64(&old->setback_us) +
						   step->setback_us);
		else if (!may_be_new)
			write_old_time(old, recorded[i], step->setback_us);
	}
}

/* Return the sum, with a step back that the sampler has not detected yet. */
static int64
with_undetected_us(pg_atomic_uint64 *sum)
{
	int64		sum_us = (int64) pg_atomic_read_u64(sum);
	int64		undetected_us;

	pg_read_barrier();
	undetected_us = (int64) pg_atomic_read_u64(&set_back->offset_us) - clock_offset_us();
	return sum_us + (undetected_us >= CPM_MIN_STEP_US ? undetected_us : 0);
}

int64
cpm_total_setback_us(void)
{
	return set_back ? with_undetected_us(&set_back->total_us) : 0;
}

int64
cpm_clock_steps_us(void)
{
	return set_back ? with_undetected_us(&set_back->steps_us) : 0;
}

bool
cpm_is_set_back(void)
{
	return cpm_total_setback_us() != 0;
}

/*
 * Convert started_at by the current offset of the clocks. If the result is in the future or before
 * the last step, the process started before the step, so convert by the offset before it. But keep
 * the first result if it is the later one: the clock was then set forward and back.
 */
int64
cpm_process_started_us(TimestampTz started_at)
{
	int64		now_us = cpm_monotonic_us();
	int64		offset_us = clock_offset_us();
	int64		former_us = (int64) pg_atomic_read_u64(&set_back->offset_us);
	int64		stepped_after_us = (int64) pg_atomic_read_u64(&set_back->checked_us);
	int64		started_us = started_at - offset_us;

	/* unless the last step is one that the sampler has not detected yet */
	if (!is_step(offset_us - former_us))
	{
		pg_read_barrier();
		former_us = (int64) pg_atomic_read_u64(&set_back->former_offset_us);
		stepped_after_us = (int64) pg_atomic_read_u64(&set_back->stepped_after_us);
	}
	if (started_us > now_us + CPM_MIN_STEP_US)
		started_us = started_at - former_us;
	else if (started_us < stepped_after_us)
		started_us = Max(started_us, started_at - former_us);
	return Min(started_us, now_us);
}

TimestampTz
cpm_past_time(TimestampTz recorded)
{
	TimestampTz now = GetCurrentTimestamp();

	return likely(recorded <= now) ? recorded :
		cpm_past(recorded, now, cpm_total_setback_us());
}

/* Return by how much the clock was set back since the time was recorded. */
static int64
setback_since(int proc_number, CpmRecordedTime which, TimestampTz recorded)
{
	OldTime    *old = &set_back->old[proc_number * CPM_RECORDED_TIMES + which];

	if ((TimestampTz) pg_atomic_read_u64(&old->recorded) == recorded)
	{
		int64		setback_us;

		pg_read_barrier();
		setback_us = (int64) pg_atomic_read_u64(&old->setback_us);
		pg_read_barrier();
		if ((TimestampTz) pg_atomic_read_u64(&old->recorded) == recorded)
			return Max(setback_us, 0);
	}
	return recorded > GetCurrentTimestamp() ? cpm_total_setback_us() : 0;
}

TimestampTz
cpm_corrected_time(int proc_number, CpmRecordedTime which, TimestampTz recorded)
{
	if (recorded == 0)
		return 0;
	return recorded - setback_since(proc_number, which, recorded);
}
