/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		Queries one console of PgBouncer over one connection.
 */
#ifndef CPM_CONSOLE_SESSION_H
#define CPM_CONSOLE_SESSION_H

#include "console/wire.h"

/*
 * Connect unless a previous request did, send the queries and pass the answers to the worker.
 * If anything fails, report the reason and exit.
 */
extern void cpm_session_answer(const CpmRequest *request);

#endif							/* CPM_CONSOLE_SESSION_H */
