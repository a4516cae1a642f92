/* SPDX-License-Identifier: PostgreSQL */
/*
 * http_state.h
 *		What the worker of HTTP says of itself: is it running, and why is nobody served?
 */
#ifndef CPM_HTTP_STATE_H
#define CPM_HTTP_STATE_H

#include "c.h"

#define CPM_HTTP_PROBLEM_SIZE 256

extern Size cpm_http_state_size(void);
extern void cpm_http_state_attach(void *memory, bool is_new);

/* The worker only: it starts or ends (0); why it does not listen, empty while it does. */
extern void cpm_http_state_running(int pid);
extern void cpm_http_state_problem(const char *problem);

/* Any process; takes no lock. The pid, 0 while it does not run; copies the problem. */
extern int	cpm_http_state_get(char problem[CPM_HTTP_PROBLEM_SIZE]);

#endif							/* CPM_HTTP_STATE_H */
