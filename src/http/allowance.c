/* SPDX-License-Identifier: PostgreSQL */
/*
 * allowance.c
 *		Limits the rate of HTTP requests of each peer.
 *
 * A client that sends too many requests must not use up the allowance of other clients, so each
 * peer has an allowance of its own.
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

typedef struct Allowance
{
	CpmPeer		peer;			/* family 0: the entry is free. All peers without an address share
								 * the first free entry */
	int64		last_us;		/* time of the last request; 0 if there was none */
	CpmRateLimit authorized;
	CpmRateLimit unauthorized;
} Allowance;

static Allowance allowances[MAX_PEERS];

/*
 * An IPv6 socket that also accepts IPv4 reports the address of an IPv4 peer as an IPv6 address
 * that ends with it.
 */
CpmPeer
cpm_peer(const struct sockaddr *address)
{
	CpmPeer		peer = {0};

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

/* Return the entry of a peer, creating it with full allowances if necessary. */
static Allowance *
find_allowance(CpmPeer peer)
{
	Allowance  *quietest = &allowances[0];

	for (int i = 0; i < MAX_PEERS; i++)
	{
		if (cpm_peers_equal(allowances[i].peer, peer))
			return &allowances[i];
		if (allowances[i].last_us < quietest->last_us)
			quietest = &allowances[i];
	}
	memset(quietest, 0, sizeof(*quietest));
	quietest->peer = peer;
	return quietest;
}

bool
cpm_allowance_take(const struct sockaddr *address, bool is_authorized, int64 now_us)
{
	Allowance  *allowance = find_allowance(cpm_peer(address));

	allowance->last_us = now_us;
	return cpm_rate_limit_allows_burst(is_authorized ? &allowance->authorized :
									   &allowance->unauthorized,
									   REQUESTS_PER_SECOND, MAX_BURST, now_us);
}
