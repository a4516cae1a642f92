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
 * This module shuts down an overdue connection rather than closing it, because libmicrohttpd owns
 * the socket. libmicrohttpd detects the shutdown and closes the socket.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "datatype/timestamp.h"
#include "http/clients.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#define MAX_CLIENTS 200			/* below libmicrohttpd's limit, so that it can accept another
								 * connection before the oldest one is shut down */
#define CLIENT_TIMEOUT_US (20 * USECS_PER_SEC)

typedef struct Client
{
	dlist_node	node;
	int			fd;
	bool		is_shut_down;
	int64		since_us;		/* when the last answer was complete, or the connection opened */
} Client;

static dlist_head clients = DLIST_STATIC_INIT(clients);
static int	count;

void *
cpm_client_connected(int fd, int64 now_us)
{
	Client	   *client = MemoryContextAllocExtended(TopMemoryContext, sizeof(Client),
													MCXT_ALLOC_NO_OOM);

	if (client == NULL)
		return NULL;
	client->fd = fd;
	client->is_shut_down = false;
	client->since_us = now_us;
	dlist_push_tail(&clients, &client->node);
	count++;
	return client;
}

void
cpm_client_answered(void *arg, int64 now_us)
{
	Client	   *client = arg;

	if (client == NULL)
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
	count--;
	pfree(client);
}

void
cpm_clients_shut_down_overdue(int64 now_us)
{
	int			surplus = count - MAX_CLIENTS;
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
	{
		Client	   *client = dlist_container(Client, node, iter.cur);

		if (surplus-- <= 0 && now_us - client->since_us < CLIENT_TIMEOUT_US)
			break;
		if (!client->is_shut_down)
			(void) shutdown(client->fd, SHUT_RDWR);
		client->is_shut_down = true;
	}
}

long
cpm_clients_timeout_ms(int64 now_us)
{
	const Client *first;

	if (dlist_is_empty(&clients))
		return -1;
	first = dlist_head_element(Client, node, &clients);
	/* libmicrohttpd has not closed the connection yet, so check again soon */
	if (first->is_shut_down)
		return 100;
	return (long) Max((first->since_us + CLIENT_TIMEOUT_US - now_us + 999) / 1000, 0);
}
