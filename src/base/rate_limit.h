/*
 * rate_limit.h
 *		So many a second, saved up for one second: a plain value of one process.
 */
#ifndef CPM_RATE_LIMIT_H
#define CPM_RATE_LIMIT_H

#include "datatype/timestamp.h"

typedef struct CpmRateLimit
{
	double		allowance;
	int64		at_us;			/* of the last question, by a monotonic clock; 0: never */
} CpmRateLimit;

/* May one more happen now? If so, it is taken to happen. */
static inline bool
cpm_rate_limit_allows(CpmRateLimit *limit, double per_second, int64 now_us)
{
	double		seconds = (double) (now_us - limit->at_us) / USECS_PER_SEC;

	limit->allowance = limit->at_us == 0 ? per_second :
		Min(limit->allowance + seconds * per_second, per_second);
	limit->at_us = now_us;
	if (limit->allowance < 1)
		return false;
	limit->allowance -= 1;
	return true;
}

#endif							/* CPM_RATE_LIMIT_H */
