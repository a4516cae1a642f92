/* SPDX-License-Identifier: PostgreSQL */
/*
 * set_back.h
 *		Corrects times that were recorded before the system clock was set back.
 */
#ifndef CPM_SET_BACK_H
#define CPM_SET_BACK_H

#include "c.h"
#include "datatype/timestamp.h"

/* Corrections of the clock that are smaller than this are not a step. */
#define CPM_MIN_STEP_US USECS_PER_SEC

/* The times that PostgreSQL records in a PGPROC and in the backend status of its session. */
typedef enum CpmRecordedTime
{
	CPM_TIME_CONNECTED,
	CPM_TIME_XACT_START,
	CPM_TIME_QUERY_START,
	CPM_TIME_STATE_CHANGE,
	CPM_TIME_LOCK_WAIT_START
} CpmRecordedTime;

#define CPM_RECORDED_TIMES (CPM_TIME_LOCK_WAIT_START + 1)

/* A step of the clock, as cpm_set_back_check() detects it. */
typedef struct CpmClockStep
{
	int64		setback_us;		/* by how much the clock was set back; negative if it was set
								 * forward; 0: no step */
	TimestampTz checked_at;		/* time of the previous check, by the clock after the step */
	TimestampTz now;			/* time of this check */
} CpmClockStep;

/*
 * Return the time of a past event, at most now. A recorded time in the future is from before the
 * clock was set back by setback_us. Returns 0 for 0.
 */
static inline TimestampTz
cpm_past(TimestampTz recorded, TimestampTz now, int64 setback_us)
{
	return recorded <= now ? recorded : Min(recorded - setback_us, now);
}

extern Size cpm_set_back_size(void);
extern void cpm_set_back_attach(void *memory, bool is_new);

/*
 * Compare the system clock with the monotonic clock, and return the step since the previous call.
 * The sampler only, before each sample.
 */
extern CpmClockStep cpm_set_back_check(void);

/*
 * Record which times of a PGPROC are from before the step. Omits those that may have been recorded
 * after it. "recorded" is an array by CpmRecordedTime, with 0 for no time. The sampler only, after
 * a step in either direction.
 */
extern void cpm_set_back_record(int proc_number, const CpmClockStep *step,
								const TimestampTz *recorded);

/*
 * Return by how much the clock has been set back since the server started, less later steps
 * forward, but at least 0. Reads two clocks. Any process; takes no lock.
 */
extern int64 cpm_total_setback_us(void);

/* Return true if cpm_total_setback_us() is not 0. */
extern bool cpm_is_set_back(void);

/*
 * Return the sum of all steps back since the server started, less all steps forward, which may be
 * negative. The difference between two results is the size of the steps between the calls. Reads
 * two clocks. Any process; takes no lock.
 */
extern int64 cpm_clock_steps_us(void);

/*
 * Convert the start of a process to a monotonic time, which is at most the current one. The result
 * is also right if the clock was set forward once since that start. After a step back, it may be
 * too late, by at most the size of the step. Call this only while a session opens, because earlier
 * steps are not considered. The library must be preloaded; takes no lock.
 */
extern int64 cpm_process_started_us(TimestampTz started_at);

/*
 * Return the recorded time of a past event. If it is in the future, because the clock was set back
 * since, convert it to a time of the clock as it is set now; the result is at most the current
 * time. Returns 0 for 0. Any process, also if the library is not preloaded; takes no lock.
 */
extern TimestampTz cpm_past_time(TimestampTz recorded);

/*
 * Convert a recorded time to a time of the system clock, as that clock is set now. Returns 0 for
 * 0. Any process; takes no lock. Until the sampler has taken a sample after a setback, corrects
 * only times in the future.
 */
extern TimestampTz cpm_corrected_time(int proc_number, CpmRecordedTime which,
									  TimestampTz recorded);

#endif							/* CPM_SET_BACK_H */
