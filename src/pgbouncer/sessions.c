/* SPDX-License-Identifier: PostgreSQL */
/*
 * sessions.c
 *		Finds the sessions of this server among the server connections of a PgBouncer.
 *
 * A matching pid is not sufficient, because the PgBouncer may also connect to other hosts,
 * containers or clusters, whose backends may have the same pids. Over TCP, PgBouncer's local
 * address and port must also be the client address and port of the session. A Unix socket has no
 * client address, so its port and directory must be those of a socket of this server.
 */
#include "postgres.h"

#include "common/ip.h"
#include "nodes/pg_list.h"
#include "pgbouncer/sessions.h"
#include "postmaster/postmaster.h"
#include "utils/varlena.h"

/* The arguments of claim_session(). */
typedef struct Claiming
{
	const CpmWorkerApi *api;
	int			pooler;
	const CpmServerList *servers;	/* sorted by pid */
	List	   *directories;	/* in which this server listens; see our_directories() */
} Claiming;

static int
compare_by_pid(const void *a, const void *b)
{
	int			x = ((const CpmPoolerServer *) a)->remote_pid;
	int			y = ((const CpmPoolerServer *) b)->remote_pid;

	return (x > y) - (x < y);
}

/* Return the index of the first server with that pid or a greater one. */
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

/*
 * Return true if the host is, or may be, one of this server's socket directories. Accesses no
 * file, because the console chose the path. The child has already resolved symbolic links in it.
 */
static bool
is_our_directory(const Claiming *claiming, const char *host)
{
	ListCell   *cell;

	/* a host without a directory means PgBouncer's default, which may be the same directory */
	if (host[0] != '/' && host[0] != '@')
		return true;
	foreach(cell, claiming->directories)
	{
		if (strcmp(host, lfirst(cell)) == 0)
			return true;
	}
	return false;
}

/* Set the address and port of a session's client; returns false if they are unknown. */
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
is_same_connection(const Claiming *claiming, const CpmSession *session,
				   const CpmPoolerServer *server)
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
		claiming->api->pooler_claim_session(claiming->pooler, session->proc_number, session);
		break;
	}
	pfree(session->query);
}

/* Return the directories in which this server listens, each also without symbolic links. */
static List *
our_directories(void)
{
	char	   *setting = pstrdup(Unix_socket_directories);
	List	   *listed;
	List	   *directories = NIL;
	ListCell   *cell;

	if (!SplitDirectoriesString(setting, ',', &listed))
		return NIL;
	foreach(cell, listed)
	{
		char	   *path = realpath(lfirst(cell), NULL);

		directories = lappend(directories, lfirst(cell));
		if (path != NULL)
			directories = lappend(directories, pstrdup(path));
		free(path);
	}
	return directories;
}

void
cpm_claim_sessions(const CpmWorkerApi *api, int pooler, CpmServerList *servers)
{
	Claiming	claiming = {
		.api = api,
		.pooler = pooler,
		.servers = servers,
		.directories = our_directories(),
	};

	qsort(servers->server, servers->count, sizeof(CpmPoolerServer), compare_by_pid);
	api->scan_sessions(CPM_SCAN_QUERIES, claim_session, &claiming);
}
