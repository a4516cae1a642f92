/* SPDX-License-Identifier: PostgreSQL */
/*
 * allowance.h
 *		Limits the rate of HTTP requests of each peer.
 */
#ifndef CPM_HTTP_ALLOWANCE_H
#define CPM_HTTP_ALLOWANCE_H

#include "datatype/timestamp.h"

struct sockaddr;

/*
 * Take one request from the peer's allowance, which is 100 requests per second, with bursts of
 * up to 1000 after a pause. Returns false if the allowance is used up. Authorized and
 * unauthorized requests have separate allowances. All requests with a NULL peer share one
 * allowance. now_us is a monotonic time.
 */
extern bool cpm_allowance_take(const struct sockaddr *peer, bool is_authorized, int64 now_us);

#endif							/* CPM_HTTP_ALLOWANCE_H */
