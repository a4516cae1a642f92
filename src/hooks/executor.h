/* SPDX-License-Identifier: PostgreSQL */
/*
 * executor.h
 *		Sees the statements of this session run.
 */
#ifndef CPM_EXECUTOR_H
#define CPM_EXECUTOR_H

/* Install the hooks. From _PG_init(), while libraries are preloaded. */
extern void cpm_executor_install(void);

#endif							/* CPM_EXECUTOR_H */
