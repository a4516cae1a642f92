/*
 * session.h
 *		Notes when the session of this process opens.
 */
#ifndef CPM_COLLECT_SESSION_H
#define CPM_COLLECT_SESSION_H

/* Install the callback. From _PG_init(), while libraries are preloaded. */
extern void cpm_session_install(void);

/* Has the session of this process been let in? */
extern bool cpm_session_is_open(void);

#endif							/* CPM_COLLECT_SESSION_H */
