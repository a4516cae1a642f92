/* SPDX-License-Identifier: PostgreSQL */
/*
 * listener.h
 *		Opens the listening socket of the HTTP server.
 */
#ifndef CPM_HTTP_LISTENER_H
#define CPM_HTTP_LISTENER_H

#include "base/listen.h"
#include "port.h"

/*
 * Open a nonblocking listening socket. On failure, returns PGINVALID_SOCKET and sets *problem to
 * the reason, which is palloc'd or constant. A host of "*" means all addresses of the machine.
 */
extern pgsocket cpm_listener_open(const CpmListen *listen, const char **problem);

#endif							/* CPM_HTTP_LISTENER_H */
