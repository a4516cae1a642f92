/* SPDX-License-Identifier: PostgreSQL */
/*
 * executor.h
 *		Recognizes the client's own statements and detects the end of each.
 */
#ifndef CPM_EXECUTOR_H
#define CPM_EXECUTOR_H

/* Install the executor and utility hooks. Call from _PG_init() while libraries are preloaded. */
extern void cpm_executor_install(void);

#endif							/* CPM_EXECUTOR_H */
