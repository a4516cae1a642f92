/* SPDX-License-Identifier: PostgreSQL */
/*
 * clients.c
 *		Who is connected over HTTP, and who has been so for too long.
 *
 * In the order in which they last had an answer, or came: whoever stands first has
 * waited longest, be it that it sends nothing, a byte now and then, or does not read.
 * A connection is shut down, not closed: libmicrohttpd sees its end and closes it.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "datatype/timestamp.h"
#include "http/clients.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#define MOST_CLIENTS 200		/* kept; libmicrohttpd takes some more until the next look */
#define PATIENCE_US (20 * USECS_PER_SEC)

typedef struct Client
{
	dlist_node	node;
	int			fd;
	bool		is_shut;
	int64		since_us;
} Client;

static dlist_head clients = DLIST_STATIC_INIT(clients);
static int	count;

void *
cpm_client_came(int fd, int64 now_us)
{
	Client	   *client = MemoryContextAllocExtended(TopMemoryContext, sizeof(Client), MCXT_ALLOC_NO_OOM);

	if (client == NULL)
		return NULL;
	client->fd = fd;
	client->is_shut = false;
	client->since_us = now_us;
	dlist_push_tail(&clients, &client->node);
	count++;
	return client;
}

void
cpm_client_was_answered(void *client, int64 now_us)
{
	Client	   *known = client;

	if (known == NULL)
		return;
	known->since_us = now_us;
	dlist_delete(&known->node);
	dlist_push_tail(&clients, &known->node);
}

void
cpm_client_went(void *client)
{
	Client	   *known = client;

	if (known == NULL)
		return;
	dlist_delete(&known->node);
	count--;
	pfree(known);
}

void
cpm_clients_tidy(int64 now_us)
{
	int			surplus = count - MOST_CLIENTS;
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
	{
		Client	   *client = dlist_container(Client, node, iter.cur);

		if (surplus-- <= 0 && now_us - client->since_us < PATIENCE_US)
			break;
		if (!client->is_shut)
			(void) shutdown(client->fd, SHUT_RDWR);
		client->is_shut = true;
	}
}

long
cpm_clients_next_ms(int64 now_us)
{
	const Client *first;

	if (dlist_is_empty(&clients))
		return -1;
	first = dlist_head_element(Client, node, &clients);
	/* one that is shut down will be gone in a moment, or its peer is slow to notice */
	if (first->is_shut)
		return 100;
	return (long) Max((first->since_us + PATIENCE_US - now_us + 999) / 1000, 0);
}
