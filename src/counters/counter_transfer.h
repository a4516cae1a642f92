/* SPDX-License-Identifier: PostgreSQL */
/*
 * counter_transfer.h
 *		Around whatever moves counts between a session and its pool, or a session from
 *		one pool to another. Any process with shared memory; none raises anything.
 */
#ifndef CPM_COUNTER_TRANSFER_H
#define CPM_COUNTER_TRANSFER_H

extern Size cpm_moves_size(void);
extern void cpm_moves_attach(void *memory, bool is_new);

/* Nothing that could wait, or be interrupted, in between. */
extern void cpm_move_begin(void);
extern void cpm_move_end(void);

/* How many had been begun, when none was under way; false when one was. */
extern bool cpm_moves_at_rest(uint64 *count);

/*
 * A reader that is disturbed all the time asks for quiet: for 20 ms at most, sessions
 * wait before they begin a move. Whoever is about to begin one heeds that first, holding
 * no LWLock.
 */
extern void cpm_moves_ask_for_quiet(void);
extern void cpm_moves_end_quiet(void);
extern void cpm_moves_heed_quiet(void);

#endif							/* CPM_COUNTER_TRANSFER_H */
