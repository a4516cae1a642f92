/* SPDX-License-Identifier: PostgreSQL */
/*
 * prepared_xacts.h
 *		Prepared transactions: they hold locks and slots of nobody.
 */
#ifndef CPM_PREPARED_XACTS_H
#define CPM_PREPARED_XACTS_H

#include "base/session.h"

extern Size cpm_prepared_xacts_size(void);
extern void cpm_prepared_xacts_attach(void *memory, bool is_new);

/*
 * All prepared transactions, palloc'd; their number is returned. In a session
 * exact and with gid; in a process without a database by the files PostgreSQL
 * keeps of them, or since the sampler first saw them. A session takes
 * TwoPhaseStateLock; a worker ProcArrayLock and, to name the file, XidGenLock.
 * All are shared, for a moment, and only while max_prepared_transactions is not 0.
 */
extern int	cpm_prepared_xacts_list(CpmPrepared **list);

/* Make the calling process, the sampler, the one that records when transactions were prepared. */
extern void cpm_prepared_xacts_begin_writing(void);

#endif							/* CPM_PREPARED_XACTS_H */
