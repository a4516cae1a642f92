/* SPDX-License-Identifier: PostgreSQL */
/*
 * executor.h
 *		Sees the statements of this session run.
 */
#ifndef CPM_EXECUTOR_H
#define CPM_EXECUTOR_H

#include "datatype/timestamp.h"

/* Install the hooks. From _PG_init(), while libraries are preloaded. */
extern void cpm_executor_install(void);

/* An error has reached the main loop, or ends the session: say so to collect/statement. */
extern void cpm_executor_failed(int sqlstate, TimestampTz now);

#endif							/* CPM_EXECUTOR_H */
