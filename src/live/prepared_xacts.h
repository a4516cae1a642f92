/* SPDX-License-Identifier: PostgreSQL */
/*
 * prepared_xacts.h
 *		Lists prepared transactions, which hold locks without a session.
 */
#ifndef CPM_PREPARED_XACTS_H
#define CPM_PREPARED_XACTS_H

#include "base/session.h"
#include "base/stream.h"

extern Size cpm_prepared_xacts_size(void);
extern void cpm_prepared_xacts_attach(void *memory, bool is_new);

/*
 * Set *list to a palloc'd array of all prepared transactions, and return their number. For
 * sessions, gids and times are exact. For processes without a database, gids are empty, and each
 * time is that in the state file or, if there is no such file yet, the time at which the sampler
 * first found the transaction.
 *
 * Returns 0 and sets *list to NULL while max_prepared_transactions is 0. Otherwise takes locks
 * briefly in shared mode: a session takes TwoPhaseStateLock; a worker takes ProcArrayLock and, in
 * PostgreSQL 17 and later, XidGenLock to compute the name of each state file that it reads.
 */
extern int	cpm_prepared_xacts_list(CpmPrepared **list);

/*
 * Claim the role of the recorder: the process that records the times of preparation in shared
 * memory. The sampler calls this when it starts; no other process may.
 */
extern void cpm_prepared_xacts_claim_recorder(void);

/*
 * The ages of prepared transactions in the statistics file. After the clock was set back,
 * PostgreSQL's times do not show these ages.
 */
extern const CpmFilePart cpm_prepared_times_part;

#endif							/* CPM_PREPARED_XACTS_H */
