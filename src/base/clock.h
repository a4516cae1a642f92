/* SPDX-License-Identifier: PostgreSQL */
/*
 * clock.h
 *		A monotonic clock for durations, unaffected by changes of the system time.
 */
#ifndef CPM_CLOCK_H
#define CPM_CLOCK_H

#include <time.h>

#include "datatype/timestamp.h"
#include "utils/timestamp.h"

/*
 * Return microseconds since an arbitrary point in time, the same for all processes. Does not use
 * instr_time, because since PostgreSQL 19 its clock depends on timing_clock_source, which may
 * differ between processes.
 */
static inline int64
cpm_monotonic_us(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/* Convert a monotonic time to a time of the system clock, as that clock is set now. */
static inline TimestampTz
cpm_timestamp_of(int64 monotonic_us)
{
	/* if the process is interrupted between the two readings, the result is too early */
	TimestampTz now = GetCurrentTimestamp();

	return now - (cpm_monotonic_us() - monotonic_us);
}

/*
 * Return the time of an event that was recorded by both clocks, corrected if the system clock was
 * set back since. The result is comparable with the times of sessions: both are corrected after a
 * step back, and neither changes at a step forward.
 */
static inline TimestampTz
cpm_comparable_time(TimestampTz at, int64 monotonic_us)
{
	return Min(at, cpm_timestamp_of(monotonic_us));
}

/* Convert a time of the system clock, as that clock is set now, to a monotonic time. */
static inline int64
cpm_monotonic_of(TimestampTz at)
{
	/* likewise too early if the process is interrupted */
	int64		now_us = cpm_monotonic_us();

	return now_us - (GetCurrentTimestamp() - at);
}

#endif							/* CPM_CLOCK_H */
