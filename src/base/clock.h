/* SPDX-License-Identifier: PostgreSQL */
/*
 * clock.h
 *		A clock for durations: it goes on evenly whatever is done to the time of day.
 */
#ifndef CPM_CLOCK_H
#define CPM_CLOCK_H

#include "portability/instr_time.h"

/* Microseconds since some moment. */
static inline int64
cpm_monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MICROSEC(now);
}

#endif							/* CPM_CLOCK_H */
