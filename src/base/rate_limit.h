/* SPDX-License-Identifier: PostgreSQL */
/*
 * rate_limit.h
 *		A token bucket: limits how often an event happens in one process.
 *
 * A plain value without locks. A zeroed struct is a full bucket.
 */
#ifndef CPM_RATE_LIMIT_H
#define CPM_RATE_LIMIT_H

#include "datatype/timestamp.h"

typedef struct CpmRateLimit
{
	double		allowance;		/* tokens left */
	int64		at_us;			/* last call, by cpm_monotonic_us(); 0: never called */
} CpmRateLimit;

/*
 * Take a token; returns false if none is left. per_second tokens are added each second, up to
 * max_burst, so that many events may happen at once after a pause.
 */
static inline bool
cpm_rate_limit_allows_burst(CpmRateLimit *limit, double per_second, double max_burst, int64 now_us)
{
	double		seconds = (double) (now_us - limit->at_us) / USECS_PER_SEC;

	limit->allowance = limit->at_us == 0 ? max_burst :
		Min(limit->allowance + seconds * per_second, max_burst);
	limit->at_us = now_us;
	if (limit->allowance < 1)
		return false;
	limit->allowance -= 1;
	return true;
}

/*
 * Take a token like the function above, with one second's tokens as max_burst. per_second must be
 * at least 1; below that the bucket never holds a whole token.
 */
static inline bool
cpm_rate_limit_allows(CpmRateLimit *limit, double per_second, int64 now_us)
{
	return cpm_rate_limit_allows_burst(limit, per_second, per_second, now_us);
}

#endif							/* CPM_RATE_LIMIT_H */
