/* SPDX-License-Identifier: PostgreSQL */
/*
 * clients.c
 *		The connections over HTTP, and timeouts that libmicrohttpd does not have.
 *
 * libmicrohttpd restarts a connection's timeout with each byte, so a client that sends a byte now
 * and then, or reads slowly, would hold its connection forever. This module starts the timeout of
 * a connection when it opens and restarts it only after a complete answer. The list of connections
 * is in the order of these times, so the connection at its head is overdue first.
 *
 * This module shuts down a connection rather than closing it, because libmicrohttpd owns the
 * socket. libmicrohttpd detects the shutdown and closes the socket.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "datatype/timestamp.h"
#include "http/allowance.h"
#include "http/clients.h"
#include "lib/ilist.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#define MAX_CLIENTS 200			/* below libmicrohttpd's limit, so that it can accept another
								 * connection before another one is shut down */
#define MAX_PROTECTED 100		/* authorized connections that others cannot push out */
#define MAX_SMALL_GROUP 16
#define CLIENT_TIMEOUT_US (20 * USECS_PER_SEC)

/* The best request that a connection has sent */
typedef enum Standing
{
	NO_REQUEST,
	UNAUTHORIZED,
	AUTHORIZED
} Standing;

typedef struct Group
{
	CpmPeer		network;
	Standing	standing;
} Group;

typedef struct Client
{
	dlist_node	node;
	int			fd;
	bool		is_shut_down;
	Group		group;
	int			group_size;		/* number of connections in the group, without those shut down */
	int64		since_us;		/* when the last answer was complete, or the connection opened */
} Client;

static dlist_head clients = DLIST_STATIC_INIT(clients);
static dlist_head shut_down_clients = DLIST_STATIC_INIT(shut_down_clients);
static int	count;				/* length of the first list */

/*
 * Return the network of a peer: the addresses that one client may use. A client on this machine
 * can use any loopback address, and a site usually has a /48 of IPv6.
 */
static CpmPeer
network_of(CpmPeer peer)
{
	const CpmPeer loopback = {.family = AF_INET};

	if (peer.family == AF_INET && pg_ntoh32((uint32) peer.network) >> 24 == IN_LOOPBACKNET)
		return loopback;
	if (peer.family == AF_INET6 && peer.network == 0)	/* ::1 */
		return loopback;
	if (peer.family == AF_INET6)
		peer.network &= pg_hton64(~UINT64CONST(0xFFFF));
	return peer;
}

static bool
is_member(const Client *client, Group group)
{
	return client->group.standing == group.standing &&
		cpm_peers_equal(client->group.network, group.network);
}

/* Update the size of a group in its members, after one has been added or removed. */
static void
count_group(Group group)
{
	int			size = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
		size += is_member(dlist_container(Client, node, iter.cur), group);
	dlist_foreach(iter, &clients)
	{
		Client	   *client = dlist_container(Client, node, iter.cur);

		if (is_member(client, group))
			client->group_size = size;
	}
}

static bool
is_authorized(const Client *client)
{
	return client->group.standing == AUTHORIZED;
}

static int
count_authorized(void)
{
	int			authorized = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
		authorized += is_authorized(dlist_container(Client, node, iter.cur));
	return authorized;
}

/*
 * Return the connection to shut down when there are too many.
 *
 * Clients without the token must not push out those with it, so up to MAX_PROTECTED authorized
 * connections are exempt. Among the others, prefer the largest group, so that a client that opens
 * many connections pushes out its own. A group consists of the connections of one network with the
 * same standing. If standing did not count, a client that keeps sending requests would never own
 * the oldest connection, and would push out connections that have not sent a request yet. Groups of
 * up to MAX_SMALL_GROUP connections count as equal, because a flood may come from many addresses
 * while several scrapers share one. Among equal groups, choose the connection that has gone longest
 * without an answer.
 */
static Client *
most_expendable(void)
{
	bool		among_authorized = count_authorized() > MAX_PROTECTED;
	Client	   *chosen = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
	{
		Client	   *client = dlist_container(Client, node, iter.cur);

		if (is_authorized(client) == among_authorized &&
			(chosen == NULL ||
			 client->group_size > Max(chosen->group_size, MAX_SMALL_GROUP)))
			chosen = client;
	}
	return chosen;
}

static void
shut_down(Client *client)
{
	(void) shutdown(client->fd, SHUT_RDWR);
	client->is_shut_down = true;
	dlist_delete(&client->node);
	dlist_push_tail(&shut_down_clients, &client->node);
	count--;
	count_group(client->group);
}

void *
cpm_client_connected(int fd, const struct sockaddr *address, int64 now_us)
{
	Client	   *client = MemoryContextAllocExtended(TopMemoryContext, sizeof(Client),
													MCXT_ALLOC_NO_OOM);

	if (client == NULL)
		return NULL;
	client->fd = fd;
	client->is_shut_down = false;
	client->group.network = network_of(cpm_peer(address));
	client->group.standing = NO_REQUEST;
	client->since_us = now_us;
	dlist_push_tail(&clients, &client->node);
	count++;
	count_group(client->group);
	return client;
}

void
cpm_client_requested(void *arg, bool has_token)
{
	Client	   *client = arg;
	Standing	standing = has_token ? AUTHORIZED : UNAUTHORIZED;
	Group		old;

	if (client == NULL || client->is_shut_down || client->group.standing >= standing)
		return;
	old = client->group;
	client->group.standing = standing;
	count_group(old);
	count_group(client->group);
}

void
cpm_client_answered(void *arg, int64 now_us)
{
	Client	   *client = arg;

	if (client == NULL || client->is_shut_down)
		return;
	client->since_us = now_us;
	dlist_delete(&client->node);
	dlist_push_tail(&clients, &client->node);
}

void
cpm_client_disconnected(void *arg)
{
	Client	   *client = arg;

	if (client == NULL)
		return;
	dlist_delete(&client->node);
	if (!client->is_shut_down)
	{
		count--;
		count_group(client->group);
	}
	pfree(client);
}

void
cpm_clients_shut_down_overdue(int64 now_us)
{
	while (!dlist_is_empty(&clients))
	{
		Client	   *oldest = dlist_head_element(Client, node, &clients);

		if (now_us - oldest->since_us < CLIENT_TIMEOUT_US)
			break;
		shut_down(oldest);
	}
	while (count > MAX_CLIENTS)
		shut_down(most_expendable());
}

long
cpm_clients_timeout_ms(int64 now_us)
{
	const Client *first;

	/* libmicrohttpd has not closed a connection yet, so check again soon */
	if (!dlist_is_empty(&shut_down_clients))
		return 100;
	if (dlist_is_empty(&clients))
		return -1;
	first = dlist_head_element(Client, node, &clients);
	return (long) Max((first->since_us + CLIENT_TIMEOUT_US - now_us + 999) / 1000, 0);
}
