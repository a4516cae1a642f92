/* SPDX-License-Identifier: PostgreSQL */
/*
 * log_messages.h
 *		Counts errors and rejected connections as the server logs them.
 */
#ifndef CPM_LOG_MESSAGES_H
#define CPM_LOG_MESSAGES_H

/* Install emit_log_hook. Call from _PG_init() while libraries are preloaded. */
extern void cpm_log_messages_install(void);

#endif							/* CPM_LOG_MESSAGES_H */
