/* SPDX-License-Identifier: PostgreSQL */
/*
 * counter_transfer.h
 *		Around whatever moves counts between a session and its pool, or a session from
 *		one pool to another. Any process with shared memory; none raises anything.
 */
#ifndef CPM_COUNTER_TRANSFER_H
#define CPM_COUNTER_TRANSFER_H

extern Size cpm_transfers_size(void);
extern void cpm_transfers_attach(void *memory, bool is_new);

/* Nothing that could wait, or be interrupted, in between. */
extern void cpm_transfer_begin(void);
extern void cpm_transfer_end(void);

/* How many had been begun, when none was under way; false when one was. */
extern bool cpm_transfers_are_done(uint64 *count);

/*
 * A reader that is disturbed all the time asks for quiet: for 20 ms at most, sessions
 * wait before they begin a move. Whoever is about to begin one heeds that first, holding
 * no LWLock.
 */
extern void cpm_transfers_pause(void);
extern void cpm_transfers_resume(void);
extern void cpm_transfers_wait_for_pause(void);

#endif							/* CPM_COUNTER_TRANSFER_H */
