/* SPDX-License-Identifier: PostgreSQL */
/*
 * reply.h
 *		Sends messages to the PgBouncer worker.
 */
#ifndef CPM_REPLY_H
#define CPM_REPLY_H

#include "console/wire.h"
#include "libpq-fe.h"

/* Report that the session is open and the first query is about to be sent. */
extern void cpm_reply_asking(void);

/* Send the answer to one query. */
extern void cpm_reply_table(const PGresult *result);

/* Report a failure of the given type with its reason, and exit. */
extern void cpm_reply_failure(CpmMessageType type, const char *text) __attribute__((noreturn));

#endif							/* CPM_REPLY_H */
