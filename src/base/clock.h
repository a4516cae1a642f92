/* SPDX-License-Identifier: PostgreSQL */
/*
 * clock.h
 *		A monotonic clock for durations, unaffected by changes of the system time.
 */
#ifndef CPM_CLOCK_H
#define CPM_CLOCK_H

#include "datatype/timestamp.h"
#include "portability/instr_time.h"
#include "utils/timestamp.h"

/* Return microseconds since an arbitrary point in time. */
static inline int64
cpm_monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MICROSEC(now);
}

/* Convert a monotonic time to a time of the system clock, as that clock is set now. */
static inline TimestampTz
cpm_timestamp_of(int64 monotonic_us)
{
	/* if the process is interrupted between the two readings, the result is too early */
	TimestampTz now = GetCurrentTimestamp();

	return now - (cpm_monotonic_us() - monotonic_us);
}

#endif							/* CPM_CLOCK_H */
