/* SPDX-License-Identifier: PostgreSQL */
/*
 * saver.h
 *		The background worker that saves counters, history, alerts and incidents to files.
 */
#ifndef CPM_SAVER_H
#define CPM_SAVER_H

#include "fmgr.h"

/* The worker's main function, called by PostgreSQL. Does not return. */
extern PGDLLEXPORT void cpm_saver_main(Datum argument);

#endif							/* CPM_SAVER_H */
