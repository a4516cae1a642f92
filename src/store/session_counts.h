/*
 * session_counts.h
 *		How many sessions there have been.
 */
#ifndef CPM_SESSION_COUNTS_H
#define CPM_SESSION_COUNTS_H

extern Size cpm_session_counts_size(void);
extern void cpm_session_counts_attach(void *memory, bool is_new);

/* A session has opened. Its own process, once; an atomic addition, cannot fail. */
extern void cpm_session_opened(void);

/* Since the server started. Any process; 0 when the library is not preloaded. */
extern uint64 cpm_sessions_opened(void);

#endif							/* CPM_SESSION_COUNTS_H */
