/* SPDX-License-Identifier: PostgreSQL */
/*
 * notifier.h
 *		The background worker that tells a batch of transitions by NOTIFY.
 */
#ifndef CPM_NOTIFIER_H
#define CPM_NOTIFIER_H

#include "fmgr.h"

extern PGDLLEXPORT void cpm_notifier_main(Datum argument);

#endif							/* CPM_NOTIFIER_H */
