/* SPDX-License-Identifier: PostgreSQL */
/*
 * console.h
 *		One console of PgBouncer: connects, asks, waits and tries again, without
 *		waiting itself but for a name server (worker.c).
 */
#ifndef CPM_CONSOLE_H
#define CPM_CONSOLE_H

#include "base/entry.h"
#include "libpq-fe.h"
#include "pgbouncer/answers.h"

/* In the order in which they are asked; the last only now and then. */
typedef enum CpmQuestion
{
	CPM_ASK_VERSION,
	CPM_ASK_DATABASES,
	CPM_ASK_SERVERS,
	CPM_ASK_POOLS,
	CPM_ASK_STATS,
	CPM_ASK_CONFIG
} CpmQuestion;

#define CPM_QUESTIONS (CPM_ASK_CONFIG + 1)

typedef enum CpmConsolePhase
{
	CPM_CONSOLE_RESTING,		/* until due_us; the connection may be open */
	CPM_CONSOLE_CONNECTING,
	CPM_CONSOLE_ASKING
} CpmConsolePhase;

typedef struct CpmConsole
{
	const CpmEntry *entry;
	int			number;			/* of the pooler */
	const CpmPoolerConsole *config;
	CpmConsolePhase phase;
	PGconn	   *conn;			/* NULL for none */
	int			wants;			/* WL_SOCKET_… events that it waits for */
	CpmQuestion question;
	PGresult   *result[CPM_QUESTIONS];	/* of this round */
	int64		due_us;			/* when the next round begins, by the monotonic clock */
	int64		deadline_us;	/* when this one has failed */
	TimestampTz asked_at;
	int64		bytes;			/* that have come in this round */
	int			failures;		/* since the last answer */
	bool		is_reused;		/* the connection is from the round before */
	int			rounds_to_config;	/* until the settings are asked for again */
	bool		was_up;
	CpmPoolerAnswer *answer;	/* what it said last */
} CpmConsole;

extern void cpm_console_init(CpmConsole *console, const CpmEntry *entry, int number);

/* Begin what is due, and give up what took too long. */
extern void cpm_console_tick(CpmConsole *console, int64 now_us);

/* Its socket is ready for what it wants. */
extern void cpm_console_ready(CpmConsole *console, int64 now_us);

/* When to tick again, at the latest. */
extern int64 cpm_console_next_us(const CpmConsole *console);

#endif							/* CPM_CONSOLE_H */
