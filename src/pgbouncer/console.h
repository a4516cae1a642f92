/* SPDX-License-Identifier: PostgreSQL */
/*
 * console.h
 *		One console of PgBouncer: has its process connect and ask, waits and tries again,
 *		without waiting itself (worker.c).
 */
#ifndef CPM_CONSOLE_H
#define CPM_CONSOLE_H

#include "export/worker_api.h"
#include "pgbouncer/answers.h"
#include "pgbouncer/child.h"

typedef enum CpmConsolePhase
{
	CPM_CONSOLE_RESTING,		/* until due_us; the connection may be open */
	CPM_CONSOLE_CONNECTING,
	CPM_CONSOLE_ASKING
} CpmConsolePhase;

typedef struct CpmConsole
{
	const CpmWorkerApi *entry;
	int			number;			/* of the pooler */
	const CpmPoolerConsole *config;
	CpmConsolePhase phase;
	CpmChild	child;			/* has the connection; ends with it */
	MemoryContext context;		/* of this round: what the child has sent */
	int			questions;		/* that are asked in this round */
	int			answers;		/* that have come */
	CpmTable	table[CPM_QUESTIONS];
	size_t		bytes;			/* that have come in this round */
	int64		due_us;			/* when the next round begins, by the monotonic clock */
	int64		deadline_us;	/* when this one has failed */
	TimestampTz asked_at;
	int			failures;		/* since the last answer */
	bool		is_reused;		/* the connection is from the round before */
	int			rounds_to_config;	/* until the settings are asked for again */
	bool		was_up;
	CpmPoolerAnswer *answer;	/* what it said last */
} CpmConsole;

extern void cpm_console_init(CpmConsole *console, const CpmWorkerApi *entry, int number);

/* Begin what is due, and give up what took too long. */
extern void cpm_console_tick(CpmConsole *console, int64 now_us);

/* Read what its process has sent. */
extern void cpm_console_ready(CpmConsole *console, int64 now_us);

/* End its process, because the worker ends. */
extern void cpm_console_end(CpmConsole *console);

/* When to tick again, at the latest. */
extern int64 cpm_console_next_us(const CpmConsole *console);

#endif							/* CPM_CONSOLE_H */
