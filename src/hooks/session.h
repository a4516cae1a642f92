/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		Records when the session of this process opens and how it ends.
 *
 * Process-local. Except where noted, these functions raise no error.
 */
#ifndef CPM_HOOKS_SESSION_H
#define CPM_HOOKS_SESSION_H

/* Install the authentication hook. Call from _PG_init() while libraries are preloaded. */
extern void cpm_session_install(void);

/*
 * Look up the privileges of the session's role, while catalogs can still be read. Call before
 * the start-up transaction commits. If the lookup fails, raises an error, which rejects the
 * connection.
 */
extern void cpm_session_begin_opening(void);

/*
 * Mark the session as open and, unless this is a walsender or a worker, claim its backend slot.
 * Call after each commit while the process has no slot. Only the first call, after the start-up
 * transaction, has an effect.
 */
extern void cpm_session_finish_opening(void);

/* Return true once the start-up transaction of this process has committed. */
extern bool cpm_session_is_open(void);

/*
 * Return true once the session has been ready for a statement, which sets the state that
 * pg_stat_activity shows. Before that, but after the start-up transaction, PostgreSQL 17 and later
 * run login triggers.
 */
extern bool cpm_session_was_ready(void);

/* Record the SQLSTATE of a FATAL error, which is about to end the session. */
extern void cpm_session_record_fatal(int sqlstate);

/* Count a failed statement if the session ends in the middle of one. Counts at most once. */
extern void cpm_session_count_exit_failure(void);

#endif							/* CPM_HOOKS_SESSION_H */
