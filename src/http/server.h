/* SPDX-License-Identifier: PostgreSQL */
/*
 * server.h
 *		Speaks HTTP, by libmicrohttpd.
 */
#ifndef CPM_HTTP_SERVER_H
#define CPM_HTTP_SERVER_H

#include "export/worker_api.h"
#include "port.h"

/*
 * Serve at a listening socket, which is the server's from then on, until it is
 * stopped. False when libmicrohttpd cannot. One at a time.
 */
extern bool cpm_server_start(const CpmWorkerApi *entry, pgsocket listener);
extern void cpm_server_stop(void);

/* Becomes readable when there is something to do; PGINVALID_SOCKET without a server. */
extern pgsocket cpm_server_socket(void);

/* Do what there is to do, without waiting. */
extern void cpm_server_run(void);

/* Milliseconds after which there is something to do in any case; -1 for never. */
extern long cpm_server_timeout_ms(void);

#endif							/* CPM_HTTP_SERVER_H */
