/* SPDX-License-Identifier: PostgreSQL */
/*
 * sqlstates.h
 *		The condition name of an SQLSTATE, and whether a retry can succeed.
 */
#ifndef CPM_SQLSTATES_H
#define CPM_SQLSTATES_H

/* Return PostgreSQL's name for the condition, a constant; NULL if it has none. */
extern const char *cpm_condition_name(const char *sqlstate);

/*
 * Return true if the same statement or connection may succeed when retried: after a serialization
 * failure, a deadlock, too many connections, shutdown, crash or startup of the server, an
 * unavailable lock, or any error of class 08 (connection exceptions).
 */
extern bool cpm_is_retryable(const char *sqlstate);

/* Enumerate the SQLSTATEs that PostgreSQL defines; index runs from 0 to the count - 1. */
extern int	cpm_condition_count(void);
extern const char *cpm_condition_sqlstate(int index);

/* Return true if PostgreSQL defines an SQLSTATE with the same first two characters. */
extern bool cpm_is_known_class(const char *sqlstate);

#endif							/* CPM_SQLSTATES_H */
