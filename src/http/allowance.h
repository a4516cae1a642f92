/* SPDX-License-Identifier: PostgreSQL */
/*
 * allowance.h
 *		How many requests each peer may make.
 */
#ifndef CPM_HTTP_ALLOWANCE_H
#define CPM_HTTP_ALLOWANCE_H

#include "datatype/timestamp.h"

struct sockaddr;

/*
 * Take one request from the peer's allowance: 100 a second, up to 1000 at once after a pause.
 * Authorized and unauthorized requests have separate allowances. Returns false if the allowance
 * is used up. now_us is monotonic. All requests with a NULL peer share one allowance.
 */
extern bool cpm_allowance_take(const struct sockaddr *peer, bool is_authorized, int64 now_us);

#endif							/* CPM_HTTP_ALLOWANCE_H */
