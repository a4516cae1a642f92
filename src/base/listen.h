/* SPDX-License-Identifier: PostgreSQL */
/*
 * listen.h
 *		The address of the HTTP listener, parsed from the setting http_listen.
 */
#ifndef CPM_LISTEN_H
#define CPM_LISTEN_H

#define CPM_LISTEN_HOST_SIZE 64

typedef struct CpmListen
{
	char		host[CPM_LISTEN_HOST_SIZE]; /* a numeric address or "*"; empty: do not listen */
	int			port;
	bool		is_loopback;	/* only this machine can connect */
} CpmListen;

/*
 * Parse "127.0.0.1:9188", "[::1]:9188", "localhost:9188", "*:9188" or an empty text, which means
 * not to listen. Returns false for anything else, with a constant errdetail in *problem. Pure:
 * resolves no name.
 */
extern bool cpm_listen_parse(const char *text, CpmListen *listen, const char **problem);

#endif							/* CPM_LISTEN_H */
