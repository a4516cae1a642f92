/* SPDX-License-Identifier: PostgreSQL */
/*
 * listen.h
 *		Where to listen for HTTP, as a setting says it.
 */
#ifndef CPM_LISTEN_H
#define CPM_LISTEN_H

#define CPM_LISTEN_HOST_SIZE 64

typedef struct CpmListen
{
	char		host[CPM_LISTEN_HOST_SIZE]; /* an address; empty: nowhere */
	int			port;
	bool		is_loopback;	/* only this machine gets there */
} CpmListen;

/*
 * Take "127.0.0.1:9188", "[::1]:9188", "localhost:9188" or "*:9188" apart; empty
 * text is nowhere. False with *problem for anything else. Pure: no name is looked up.
 */
extern bool cpm_listen_parse(const char *text, CpmListen *listen, const char **problem);

#endif							/* CPM_LISTEN_H */
