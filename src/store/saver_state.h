/* SPDX-License-Identifier: PostgreSQL */
/*
 * saver_state.h
 *		What the saver says of itself: is it running, when was the file last saved,
 *		what went wrong since.
 */
#ifndef CPM_SAVER_STATE_H
#define CPM_SAVER_STATE_H

#include "datatype/timestamp.h"

#define CPM_SAVE_ERROR_SIZE 512

typedef struct CpmSaverState
{
	int			pid;			/* 0 while no saver runs */
	TimestampTz last_saved;		/* also before the server's start; 0 never */
	char		error[CPM_SAVE_ERROR_SIZE]; /* of the last attempt; empty when it succeeded */
} CpmSaverState;

extern Size cpm_saver_state_size(void);
extern void cpm_saver_state_attach(void *memory, bool is_new);

/* The saver only: it starts, in the PGPROC of that number, or ends (pid 0). */
extern void cpm_saver_state_running(int pid, int proc_number);

/* The saver, or the postmaster while there is none: an attempt has succeeded, or failed. */
extern void cpm_saver_state_saved(TimestampTz at);
extern void cpm_saver_state_failed(const char *error);

/* Any process; takes no lock. All zero when the library is not preloaded. */
extern CpmSaverState cpm_saver_state_get(void);

/*
 * Ask the saver to save at once: what was reset must not come back by a crash.
 * Any process with a latch. The saver asks, and forgets, whether it was asked.
 */
extern void cpm_saver_ask(void);
extern bool cpm_saver_was_asked(void);

#endif							/* CPM_SAVER_STATE_H */
