/* SPDX-License-Identifier: PostgreSQL */
/*
 * allowance.c
 *		How many requests each peer may make.
 *
 * A client that asks too often must not silence others, so each address has an allowance of its
 * own. For IPv6 that is each 64-bit network, because a host can take any address of its network.
 * The table has a fixed size. When it is full, a new peer replaces the one that has been quiet
 * for longest, whose allowance has usually been restored by then. Only a flood from more
 * addresses than there are places can gain requests in this way.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/rate_limit.h"
#include "http/allowance.h"

#define PEERS 128
#define REQUESTS_PER_SECOND 100.0
#define MOST_AT_ONCE 1000.0

typedef struct Peer
{
	sa_family_t family;			/* 0: a place that is free, or a peer without an address */
	uint64		network;		/* the address, or the first half of one of IPv6 */
	int64		asked_us;
	CpmRateLimit authorized;
	CpmRateLimit unauthorized;
} Peer;

static Peer peers[PEERS];

static Peer
peer_of(const struct sockaddr *address)
{
	Peer		peer = {0};

	if (address != NULL && address->sa_family == AF_INET)
	{
		peer.family = AF_INET;
		peer.network = ((const struct sockaddr_in *) address)->sin_addr.s_addr;
	}
	else if (address != NULL && address->sa_family == AF_INET6)
	{
		peer.family = AF_INET6;
		memcpy(&peer.network, &((const struct sockaddr_in6 *) address)->sin6_addr, sizeof(peer.network));
	}
	return peer;
}

/* Return the entry of a peer, creating it if necessary. */
static Peer *
find_peer(const struct sockaddr *address)
{
	Peer		wanted = peer_of(address);
	Peer	   *quietest = &peers[0];

	for (int i = 0; i < PEERS; i++)
	{
		if (peers[i].family == wanted.family && peers[i].network == wanted.network)
			return &peers[i];
		if (peers[i].asked_us < quietest->asked_us)
			quietest = &peers[i];
	}
	*quietest = wanted;
	return quietest;
}

bool
cpm_allowance_take(const struct sockaddr *address, bool is_authorized, int64 now_us)
{
	Peer	   *peer = find_peer(address);

	peer->asked_us = now_us;
	return cpm_rate_limit_allows_burst(is_authorized ? &peer->authorized : &peer->unauthorized,
									   REQUESTS_PER_SECOND, MOST_AT_ONCE, now_us);
}
