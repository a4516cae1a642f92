/* SPDX-License-Identifier: PostgreSQL */
/*
 * allowance.h
 *		Limits the rate of HTTP requests of each peer.
 */
#ifndef CPM_HTTP_ALLOWANCE_H
#define CPM_HTTP_ALLOWANCE_H

#include <sys/socket.h>

#include "datatype/timestamp.h"

/* An IPv4 address, or an IPv6 /64 network, because a host can use any address of its network. */
typedef struct CpmPeer
{
	sa_family_t family;			/* 0: the address is unknown */
	uint64		network;		/* the IPv4 address, or the first 64 bits of the IPv6 address */
} CpmPeer;

static inline bool
cpm_peers_equal(CpmPeer a, CpmPeer b)
{
	return a.family == b.family && a.network == b.network;
}

/* Return the peer with that address, which may be NULL. */
extern CpmPeer cpm_peer(const struct sockaddr *address);

/*
 * Take one request from the peer's allowance, which is 100 requests per second, with bursts of
 * up to 1000 after a pause. Returns false if the allowance is used up. Authorized and
 * unauthorized requests have separate allowances. All requests with a NULL address share one
 * allowance. now_us is a monotonic time.
 */
extern bool cpm_allowance_take(const struct sockaddr *address, bool is_authorized, int64 now_us);

#endif							/* CPM_HTTP_ALLOWANCE_H */
