/* SPDX-License-Identifier: PostgreSQL */
/*
 * server.h
 *		The HTTP server, which uses libmicrohttpd.
 */
#ifndef CPM_HTTP_SERVER_H
#define CPM_HTTP_SERVER_H

#include "export/worker_api.h"
#include "port.h"

/*
 * Start the server on a listening socket, which belongs to the server from then on. Returns false,
 * after closing the socket, if libmicrohttpd cannot start. Only one server can run at a time.
 */
extern bool cpm_server_start(const CpmWorkerApi *api, pgsocket listener);

/* Stop the server and close all of its connections. Does nothing if no server runs. */
extern void cpm_server_stop(void);

/*
 * Return a socket that becomes readable when cpm_server_run() has work to do; PGINVALID_SOCKET
 * if no server runs.
 */
extern pgsocket cpm_server_socket(void);

/* Process pending input and timeouts, without waiting. */
extern void cpm_server_run(void);

/*
 * Return the milliseconds after which cpm_server_run() must be called even if the socket is not
 * readable; -1 if there is no such time.
 */
extern long cpm_server_timeout_ms(void);

#endif							/* CPM_HTTP_SERVER_H */
