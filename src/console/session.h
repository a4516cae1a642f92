/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		Queries one console of PgBouncer over one connection.
 */
#ifndef CPM_CONSOLE_SESSION_H
#define CPM_CONSOLE_SESSION_H

#include "console/wire.h"

/*
 * Send the queries of a request to the console and pass its answers to the worker. The first
 * request opens the connection. If anything fails, reports the reason and exits.
 */
extern void cpm_session_answer(const CpmRequest *request);

#endif							/* CPM_CONSOLE_SESSION_H */
