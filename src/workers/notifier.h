/* SPDX-License-Identifier: PostgreSQL */
/*
 * notifier.h
 *		The background worker that sends one batch of alert transitions by NOTIFY.
 */
#ifndef CPM_NOTIFIER_H
#define CPM_NOTIFIER_H

#include "fmgr.h"

/* The worker's main function, called by PostgreSQL. Does not return. */
extern PGDLLEXPORT void cpm_notifier_main(Datum argument);

#endif							/* CPM_NOTIFIER_H */
