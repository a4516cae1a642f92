/* SPDX-License-Identifier: PostgreSQL */
/*
 * sessions.c
 *		Finds the sessions of this server among the server connections of a PgBouncer.
 *
 * A pid alone proves nothing: the pooler may serve other hosts and clusters, or other
 * containers, whose backends have the same. Over TCP the two ends of the connection must
 * be the same: the address and port that the pooler has on its side are those of the
 * session's client. Over a Unix socket, which has no such ends, the server is on this
 * host: its port must be ours, and its directory one that we listen in.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "common/ip.h"
#include "nodes/pg_list.h"
#include "pgbouncer/sessions.h"
#include "postmaster/postmaster.h"
#include "utils/varlena.h"

typedef struct Claiming
{
	const CpmWorkerApi *entry;
	int			pooler;
	const CpmServerList *servers;
	List	   *directories;	/* that we listen in */
} Claiming;

static int
compare_by_pid(const void *a, const void *b)
{
	int			x = ((const CpmPoolerServer *) a)->remote_pid;
	int			y = ((const CpmPoolerServer *) b)->remote_pid;

	return (x > y) - (x < y);
}

/* The first of those with that pid; the end of the list when there is none. */
static int
first_with_pid(const CpmServerList *servers, int pid)
{
	int			low = 0;
	int			high = servers->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (servers->server[middle].remote_pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
is_same_directory(const char *x, const char *y)
{
	struct stat x_is;
	struct stat y_is;

	return strcmp(x, y) == 0 ||
		(x[0] == '/' && stat(x, &x_is) == 0 && stat(y, &y_is) == 0 &&
		 x_is.st_dev == y_is.st_dev && x_is.st_ino == y_is.st_ino);
}

/* A pooler that names no directory uses the one that libpq would: that may be ours. */
static bool
is_our_directory(const Claiming *claiming, const char *host)
{
	ListCell   *cell;

	if (host[0] != '/' && host[0] != '@')
		return true;
	foreach(cell, claiming->directories)
		if (is_same_directory(host, lfirst(cell)))
		return true;
	return false;
}

/* The client's end of a session, as text and number. */
static bool
client_end(const CpmSession *session, char *address, size_t size, int *port)
{
	char		service[NI_MAXSERV];

	if (pg_getnameinfo_all(&session->client_addr.addr, session->client_addr.salen, address, size,
						   service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return false;
	*port = atoi(service);
	return true;
}

static bool
is_same_connection(const Claiming *claiming, const CpmSession *session, const CpmPoolerServer *server)
{
	char		address[NI_MAXHOST];
	int			port;

	if (session->client_addr.addr.ss_family == AF_UNIX)
		return server->is_unix && server->server_port == PostPortNumber &&
			is_our_directory(claiming, server->server_host);
	return !server->is_unix && client_end(session, address, sizeof(address), &port) &&
		port == server->client_port && strcmp(address, server->client_addr) == 0;
}

static void
claim_session(const CpmSession *session, void *arg)
{
	const Claiming *claiming = arg;
	const CpmServerList *servers = claiming->servers;

	for (int i = first_with_pid(servers, session->pid);
		 i < servers->count && servers->server[i].remote_pid == session->pid; i++)
	{
		if (!is_same_connection(claiming, session, &servers->server[i]))
			continue;
		claiming->entry->pooler_claim_session(claiming->pooler, session->proc_number, session);
		break;
	}
	pfree(session->query);
}

void
cpm_claim_sessions(const CpmWorkerApi *entry, int pooler, CpmServerList *servers)
{
	Claiming	claiming = {.entry = entry, .pooler = pooler, .servers = servers};
	char	   *directories = pstrdup(Unix_socket_directories);

	if (!SplitDirectoriesString(directories, ',', &claiming.directories))
		claiming.directories = NIL;
	qsort(servers->server, servers->count, sizeof(CpmPoolerServer), compare_by_pid);
	entry->scan_sessions(true, claim_session, &claiming);
}
