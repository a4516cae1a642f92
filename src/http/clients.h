/* SPDX-License-Identifier: PostgreSQL */
/*
 * clients.h
 *		The connections over HTTP, and timeouts that libmicrohttpd does not have.
 */
#ifndef CPM_HTTP_CLIENTS_H
#define CPM_HTTP_CLIENTS_H

struct sockaddr;

/*
 * Record a new connection; address may be NULL. Returns a handle for the next three functions;
 * NULL, which they accept, if memory runs out. A connection that is not recorded has only
 * libmicrohttpd's own timeout.
 */
extern void *cpm_client_connected(int fd, const struct sockaddr *address, int64 now_us);

/* Record that a connection has sent a request. has_token is also true if none is required. */
extern void cpm_client_requested(void *client, bool has_token);

/* Record that a connection has received a complete answer. */
extern void cpm_client_answered(void *client, int64 now_us);

/* Remove a connection that libmicrohttpd is about to close. */
extern void cpm_client_disconnected(void *client);

/*
 * Shut down the connections whose timeout has expired and, if there are too many connections,
 * first some without the token, and among these some of the largest group.
 */
extern void cpm_clients_shut_down_overdue(int64 now_us);

/* Return the milliseconds until a connection becomes overdue; -1 if there is no connection. */
extern long cpm_clients_timeout_ms(int64 now_us);

#endif							/* CPM_HTTP_CLIENTS_H */
