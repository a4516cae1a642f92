/* SPDX-License-Identifier: PostgreSQL */
/*
 * listen.c
 *		Parses the setting http_listen.
 *
 * Only numeric addresses and "localhost" are accepted. Resolving any other name could block, and
 * a change in DNS could open the listener to other machines.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/listen.h"

static bool
parse_port(const char *text, int *port)
{
	char	   *end;
	long		value;

	if (*text < '0' || *text > '9')
		return false;
	value = strtol(text, &end, 10);
	*port = (int) value;
	return *end == '\0' && value >= 1 && value <= 65535;
}

/* Copy the part before the colon, without IPv6's brackets. Returns false if it is malformed. */
static bool
parse_host(const char *text, const char *colon, char *host)
{
	size_t		length = colon - text;

	if (length >= 2 && text[0] == '[' && text[length - 1] == ']')
	{
		text++;
		length -= 2;
	}
	else if (memchr(text, ':', length) != NULL)
		return false;
	if (length == 0 || length >= CPM_LISTEN_HOST_SIZE)
		return false;
	memcpy(host, text, length);
	host[length] = '\0';
	return true;
}

/* Replace "localhost" with an address and set is_loopback. Returns false if it is no address. */
static bool
classify_address(CpmListen *listen)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (strcmp(listen->host, "localhost") == 0)
		strcpy(listen->host, "127.0.0.1");
	if (strcmp(listen->host, "*") == 0)
		return true;
	if (inet_pton(AF_INET, listen->host, &v4) == 1)
	{
		listen->is_loopback = (ntohl(v4.s_addr) >> 24) == 127;
		return true;
	}
	if (inet_pton(AF_INET6, listen->host, &v6) != 1)
		return false;
	listen->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6) != 0;
	return true;
}

bool
cpm_listen_parse(const char *text, CpmListen *listen, const char **problem)
{
	const char *colon = strrchr(text, ':');

	memset(listen, 0, sizeof(*listen));
	if (*text == '\0')
		return true;
	*problem = "The value must be an address and a port from 1 to 65535, such as 127.0.0.1:9188, "
		"[::1]:9188 or *:9188. The only host name accepted is localhost.";
	return colon != NULL && parse_port(colon + 1, &listen->port) &&
		parse_host(text, colon, listen->host) && classify_address(listen);
}
