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

#include <sys/socket.h>

#include "datatype/timestamp.h"
#include "http/allowance.h"
#include "http/clients.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#define MAX_CLIENTS 200			/* below libmicrohttpd's limit, so that it can accept another
								 * connection before another one is shut down */
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
	CpmPeer		peer;
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

static bool
is_member(const Client *client, Group group)
{
	return client->group.standing == group.standing &&
		cpm_peers_equal(client->group.peer, group.peer);
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

/*
 * Return the connection to shut down when there are too many: of the largest group, the one that
 * has gone longest without an answer. So a client that opens many connections pushes out its own,
 * not those of other clients. A group has the connections of one peer with the same standing,
 * because a flood of requests without the token may come from the address of a client with the
 * token. A peer's connections without a request are also a group of their own, because one of them
 * may be about to send the token. If groups have the same size, choose a connection that is not
 * authorized, because a flood may come from many addresses.
 */
static Client *
most_expendable(void)
{
	Client	   *chosen = dlist_head_element(Client, node, &clients);
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
	{
		Client	   *client = dlist_container(Client, node, iter.cur);

		if (client->group_size > chosen->group_size ||
			(client->group_size == chosen->group_size &&
			 chosen->group.standing == AUTHORIZED && client->group.standing != AUTHORIZED))
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
	client->group.peer = cpm_peer(address);
	client->group.standing = NO_REQUEST;
	client->since_us = now_us;
	dlist_push_tail(&clients, &client->node);
	count++;
	count_group(client->group);
	return client;
}

void
cpm_client_requested(void *arg, bool is_authorized)
{
	Client	   *client = arg;
	Standing	standing = is_authorized ? AUTHORIZED : UNAUTHORIZED;
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
