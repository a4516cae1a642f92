/* SPDX-License-Identifier: PostgreSQL */
/*
 * clock.h
 *		A monotonic clock for durations, unaffected by changes of the system time.
 */
#ifndef CPM_CLOCK_H
#define CPM_CLOCK_H

#include "portability/instr_time.h"

/* Return microseconds since an arbitrary point in time. */
static inline int64
cpm_monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MICROSEC(now);
}

#endif							/* CPM_CLOCK_H */
