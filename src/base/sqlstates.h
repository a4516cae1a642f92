/* SPDX-License-Identifier: PostgreSQL */
/*
 * sqlstates.h
 *		What an SQLSTATE is called, and whether trying again can help.
 */
#ifndef CPM_SQLSTATES_H
#define CPM_SQLSTATES_H

/* PostgreSQL's name for the condition, or NULL when it has none. */
extern const char *cpm_condition_name(const char *sqlstate);

/*
 * Can the same statement or connection succeed when it is tried again? Lost
 * serialization and deadlock, no slot, shutdown and start, a lock that could
 * not be had, and class 08, a broken connection.
 */
extern bool cpm_is_retryable(const char *sqlstate);

/* The codes that PostgreSQL itself has: indexes run from 0 to the count, exclusive. */
extern int	cpm_condition_count(void);
extern const char *cpm_condition_sqlstate(int index);

/* Return true if PostgreSQL has a code of this one's class, its first two characters. */
extern bool cpm_is_known_class(const char *sqlstate);

#endif							/* CPM_SQLSTATES_H */
