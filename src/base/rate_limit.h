/* SPDX-License-Identifier: PostgreSQL */
/*
 * rate_limit.h
 *		So many a second, saved up to a limit: a plain value of one process.
 */
#ifndef CPM_RATE_LIMIT_H
#define CPM_RATE_LIMIT_H

#include "datatype/timestamp.h"

typedef struct CpmRateLimit
{
	double		allowance;
	int64		at_us;			/* of the last question, by a monotonic clock; 0: never */
} CpmRateLimit;

/*
 * May one more happen now? If so, it is taken to happen. At most so many at once, after
 * a pause that was long enough for them.
 */
static inline bool
cpm_rate_limit_allows_burst(CpmRateLimit *limit, double per_second, double most, int64 now_us)
{
	double		seconds = (double) (now_us - limit->at_us) / USECS_PER_SEC;

	limit->allowance = limit->at_us == 0 ? most :
		Min(limit->allowance + seconds * per_second, most);
	limit->at_us = now_us;
	if (limit->allowance < 1)
		return false;
	limit->allowance -= 1;
	return true;
}

/* The same, saved up for one second. */
static inline bool
cpm_rate_limit_allows(CpmRateLimit *limit, double per_second, int64 now_us)
{
	return cpm_rate_limit_allows_burst(limit, per_second, per_second, now_us);
}

#endif							/* CPM_RATE_LIMIT_H */
