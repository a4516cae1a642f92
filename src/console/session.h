/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		Asks one console of PgBouncer over one connection.
 */
#ifndef CPM_CONSOLE_SESSION_H
#define CPM_CONSOLE_SESSION_H

#include "console/wire.h"

/*
 * Connect unless a request before this one did, ask the questions and send the answers to the
 * worker. Ends the process if anything fails.
 */
extern void cpm_session_answer(const CpmRequest *request);

#endif							/* CPM_CONSOLE_SESSION_H */
