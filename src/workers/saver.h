/* SPDX-License-Identifier: PostgreSQL */
/*
 * saver.h
 *		The background worker that saves counters, history and alerts to files.
 */
#ifndef CPM_SAVER_H
#define CPM_SAVER_H

#include "fmgr.h"

/* Register the worker. Call from _PG_init() while libraries are preloaded. */
extern void cpm_saver_register(void);

/* The worker's main function, called by PostgreSQL. Does not return. */
extern PGDLLEXPORT void cpm_saver_main(Datum argument);

#endif							/* CPM_SAVER_H */
