/* SPDX-License-Identifier: PostgreSQL */
/*
 * console.h
 *		The state machine that polls one console of PgBouncer.
 */
#ifndef CPM_CONSOLE_H
#define CPM_CONSOLE_H

#include "export/worker_api.h"
#include "pgbouncer/answers.h"
#include "pgbouncer/child.h"

typedef enum CpmConsolePhase
{
	CPM_CONSOLE_IDLE,			/* between rounds, until due_us; the connection may be open */
	CPM_CONSOLE_CONNECTING,
	CPM_CONSOLE_ASKING
} CpmConsolePhase;

typedef struct CpmConsole
{
	const CpmWorkerApi *api;
	int			number;			/* index in the list of poolers */
	const CpmPoolerConsole *config;
	CpmConsolePhase phase;
	CpmChild	child;			/* the process that has the connection; its pid may be 0 */
	MemoryContext context;		/* for the messages of this round */
	int			questions;		/* queries of this round */
	int			answers;		/* answers received in this round, in table[] */
	CpmTable	table[CPM_QUESTIONS];
	size_t		bytes;			/* bytes received in this round */
	int64		due_us;			/* start of the next round */
	int64		deadline_us;	/* when the current round fails if it is not complete */
	TimestampTz asked_at;		/* start of the current round */
	int64		asked_us;		/* the same by the monotonic clock */
	int			failures;		/* failed rounds since the last successful one */
	bool		is_reused;		/* the round uses the connection of the previous one */
	int			rounds_to_config;	/* rounds until the next SHOW CONFIG */
	bool		was_up;			/* the last round succeeded */
	CpmPoolerAnswer *answer;	/* the last complete answer */
} CpmConsole;

/*
 * Initialize the console with that number in the list of poolers. Its first round is due at once.
 * now_us of the functions below is the time of the monotonic clock.
 */
extern void cpm_console_init(CpmConsole *console, const CpmWorkerApi *api, int number);

/* Begin a round that is due, or fail the current one if its deadline has passed. */
extern void cpm_console_tick(CpmConsole *console, int64 now_us);

/* Process data that is available on the child's socket. */
extern void cpm_console_ready(CpmConsole *console, int64 now_us);

/* Kill the child, because the worker is about to exit. */
extern void cpm_console_end(CpmConsole *console);

/* Return the time at which cpm_console_tick() must be called at the latest. */
extern int64 cpm_console_next_us(const CpmConsole *console);

#endif							/* CPM_CONSOLE_H */
