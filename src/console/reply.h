/* SPDX-License-Identifier: PostgreSQL */
/*
 * reply.h
 *		Sends messages to the worker of PgBouncer.
 */
#ifndef CPM_REPLY_H
#define CPM_REPLY_H

#include "console/wire.h"
#include "libpq-fe.h"

extern void cpm_reply_asking(void);
extern void cpm_reply_table(const PGresult *result);

/* Send the text as the reason, and end the process. */
extern void cpm_reply_failure(CpmMessageType type, const char *text) __attribute__((noreturn));

#endif							/* CPM_REPLY_H */
