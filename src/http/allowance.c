/* SPDX-License-Identifier: PostgreSQL */
/*
 * allowance.c
 *		Limits the rate of HTTP requests of each peer.
 *
 * A client that sends too many requests must not use up the allowance of other clients, so each
 * address has an allowance of its own. IPv6 addresses share one for each /64 network, because a
 * host can use any address of its network.
 *
 * The table has a fixed size. When it is full, a new peer replaces the peer whose last request is
 * oldest, because that peer has usually regained its full allowance. A replaced peer that returns
 * gets a full allowance early, but only a flood from more than MAX_PEERS addresses can exploit
 * that.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/rate_limit.h"
#include "http/allowance.h"

#define MAX_PEERS 128
#define REQUESTS_PER_SECOND 100.0
#define MAX_BURST 1000.0

typedef struct Peer
{
	sa_family_t family;			/* 0: the entry is free. All peers without an address share the
								 * first free entry */
	uint64		network;		/* the IPv4 address, or the first 64 bits of the IPv6 address */
	int64		last_us;		/* time of the last request; 0 if there was none */
	CpmRateLimit authorized;
	CpmRateLimit unauthorized;
} Peer;

static Peer peers[MAX_PEERS];

/*
 * Return a new entry for an address, with full allowances. An IPv6 socket that also accepts IPv4
 * reports the address of an IPv4 peer as an IPv6 address that ends with it.
 */
static Peer
make_peer(const struct sockaddr *address)
{
	Peer		peer = {0};

	if (address != NULL && address->sa_family == AF_INET)
	{
		peer.family = AF_INET;
		peer.network = ((const struct sockaddr_in *) address)->sin_addr.s_addr;
	}
	else if (address != NULL && address->sa_family == AF_INET6)
	{
		const struct in6_addr *ipv6 = &((const struct sockaddr_in6 *) address)->sin6_addr;

		if (IN6_IS_ADDR_V4MAPPED(ipv6))
		{
			in_addr_t	ipv4;

			memcpy(&ipv4, &ipv6->s6_addr[12], sizeof(ipv4));
			peer.family = AF_INET;
			peer.network = ipv4;
		}
		else
		{
			peer.family = AF_INET6;
			memcpy(&peer.network, ipv6, sizeof(peer.network));
		}
	}
	return peer;
}

/* Return the entry of an address, creating it if necessary. */
static Peer *
find_peer(const struct sockaddr *address)
{
	Peer		wanted = make_peer(address);
	Peer	   *quietest = &peers[0];

	for (int i = 0; i < MAX_PEERS; i++)
	{
		if (peers[i].family == wanted.family && peers[i].network == wanted.network)
			return &peers[i];
		if (peers[i].last_us < quietest->last_us)
			quietest = &peers[i];
	}
	*quietest = wanted;
	return quietest;
}

bool
cpm_allowance_take(const struct sockaddr *address, bool is_authorized, int64 now_us)
{
	Peer	   *peer = find_peer(address);

	peer->last_us = now_us;
	return cpm_rate_limit_allows_burst(is_authorized ? &peer->authorized : &peer->unauthorized,
									   REQUESTS_PER_SECOND, MAX_BURST, now_us);
}
