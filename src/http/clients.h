/* SPDX-License-Identifier: PostgreSQL */
/*
 * clients.h
 *		The connections over HTTP, and timeouts that libmicrohttpd does not have.
 */
#ifndef CPM_HTTP_CLIENTS_H
#define CPM_HTTP_CLIENTS_H

/*
 * Record a new connection. Returns a handle for the next two functions; NULL, which they accept,
 * if memory runs out. A connection that is not recorded has only libmicrohttpd's own timeout.
 */
extern void *cpm_client_connected(int fd, int64 now_us);

/* Record that a connection has received a complete answer. */
extern void cpm_client_answered(void *client, int64 now_us);

/* Remove a connection that libmicrohttpd is about to close. */
extern void cpm_client_disconnected(void *client);

/*
 * Shut down the connections whose timeout has expired and, if there are too many connections,
 * those whose timeout would expire next.
 */
extern void cpm_clients_shut_down_overdue(int64 now_us);

/* Return the milliseconds until a connection becomes overdue; -1 if there is no connection. */
extern long cpm_clients_timeout_ms(int64 now_us);

#endif							/* CPM_HTTP_CLIENTS_H */
