/* SPDX-License-Identifier: PostgreSQL */
/*
 * listener.c
 *		Opens the listening socket of the HTTP server.
 */
#include "postgres.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/listener.h"

#define BACKLOG 128

/*
 * Set *problem to the failed action and the reason in errno, close the socket if it is open, and
 * return PGINVALID_SOCKET.
 */
static pgsocket
report_failure(pgsocket opened, const char *action, const char **problem)
{
	*problem = psprintf("%s: %s", action, strerror(errno));
	if (opened != PGINVALID_SOCKET)
		closesocket(opened);
	return PGINVALID_SOCKET;
}

static pgsocket
open_at(const struct addrinfo *address, const char **problem)
{
	pgsocket	opened = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int			on = 1;
	int			off = 0;

	if (opened == PGINVALID_SOCKET)
		return report_failure(opened, "could not create a socket", problem);
	(void) setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ai_family == AF_INET6)
		(void) setsockopt(opened, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(opened, address->ai_addr, address->ai_addrlen) != 0)
		return report_failure(opened, "could not bind to it", problem);
	if (listen(opened, BACKLOG) != 0)
		return report_failure(opened, "could not listen on it", problem);
	if (!pg_set_noblock(opened))
		return report_failure(opened, "could not make it nonblocking", problem);
	return opened;
}

/* Return false if this machine has no IPv6. */
static bool
has_ipv6(void)
{
	pgsocket	probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (probe == PGINVALID_SOCKET)
		return errno != EAFNOSUPPORT;
	closesocket(probe);
	return true;
}

/*
 * For "*", listen at ::, which also accepts IPv4 clients. Listen at 0.0.0.0 only on a machine
 * without IPv6. After any other failure, a listener at 0.0.0.0 would hide the reason, and IPv6
 * clients could not connect.
 */
pgsocket
cpm_listener_open(const CpmListen *listen, const char **problem)
{
	const char *host = listen->host;
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
	};
	struct addrinfo *found = NULL;
	pgsocket	opened;
	char		port[8];
	int			error;

	if (strcmp(host, "*") == 0)
		host = has_ipv6() ? "::" : "0.0.0.0";
	snprintf(port, sizeof(port), "%d", listen->port);
	error = getaddrinfo(host, port, &hints, &found);
	if (error != 0)
	{
		*problem = gai_strerror(error);
		return PGINVALID_SOCKET;
	}
	opened = open_at(found, problem);
	freeaddrinfo(found);
	return opened;
}
