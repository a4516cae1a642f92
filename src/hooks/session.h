/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		Notes when the session of this process opens, and how it ends.
 */
#ifndef CPM_HOOKS_SESSION_H
#define CPM_HOOKS_SESSION_H

/* Install the hook. From _PG_init(), while libraries are preloaded. */
extern void cpm_session_install(void);

/* A transaction of this process has committed: the first opens the session. */
extern void cpm_session_note_commit(void);

/*
 * The transaction that lets the session in is about to commit, and catalogs can still be read.
 * Raises what a lookup of the session's role does, which refuses the session.
 */
extern void cpm_session_note_committing(void);

/* Has the session of this process been let in? */
extern bool cpm_session_is_open(void);

/* An error of that SQLSTATE is about to end the session. */
extern void cpm_session_note_fatal(int sqlstate);

/* The session ends: if it does so in the middle of a statement, that has failed. */
extern void cpm_session_fail_at_exit(void);

#endif							/* CPM_HOOKS_SESSION_H */
