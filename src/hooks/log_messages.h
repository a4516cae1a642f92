/* SPDX-License-Identifier: PostgreSQL */
/*
 * log_messages.h
 *		Counts errors and refused connections as the server reports them.
 */
#ifndef CPM_LOG_MESSAGES_H
#define CPM_LOG_MESSAGES_H

/* Install the hooks. From _PG_init(), while libraries are preloaded. */
extern void cpm_log_messages_install(void);

#endif							/* CPM_LOG_MESSAGES_H */
