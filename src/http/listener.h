/* SPDX-License-Identifier: PostgreSQL */
/*
 * listener.h
 *		The socket at which requests arrive.
 */
#ifndef CPM_HTTP_LISTENER_H
#define CPM_HTTP_LISTENER_H

#include "base/listen.h"
#include "port.h"

/* Open it, or say in *problem (palloc'd or constant) why not and return PGINVALID_SOCKET. */
extern pgsocket cpm_listener_open(const CpmListen *listen, const char **problem);

#endif							/* CPM_HTTP_LISTENER_H */
