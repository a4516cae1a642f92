/* SPDX-License-Identifier: PostgreSQL */
/*
 * counter_transfer.h
 *		Brackets transfers of counters between a backend slot and its pool, or between
 *		two pools, so that readers notice them.
 *
 * Any process with shared memory may call these functions; none raises an error.
 */
#ifndef CPM_COUNTER_TRANSFER_H
#define CPM_COUNTER_TRANSFER_H

extern Size cpm_transfers_size(void);
extern void cpm_transfers_attach(void *memory, bool is_new);

/*
 * Begin or end a transfer. In between, the caller must not wait, raise an error or process
 * interrupts, because readers retry until the transfer has ended.
 */
extern void cpm_transfer_begin(void);
extern void cpm_transfer_end(void);

/*
 * Return true if no transfer is in progress, and set *count to the number of transfers begun so
 * far. No transfer overlapped a read if this function returned true with the same count before
 * and after it.
 */
extern bool cpm_transfers_are_done(uint64 *count);

/*
 * Ask sessions to begin no transfer for up to 20 ms. The second function ends this pause, even if
 * another reader has asked for it too. Readers call these if transfers have forced them to retry.
 */
extern void cpm_transfers_pause(void);
extern void cpm_transfers_resume(void);

/*
 * Wait for the end of a pause, for 20 ms at most. Sessions call this before they begin a transfer,
 * while they hold no LWLock.
 */
extern void cpm_transfers_wait_for_pause(void);

#endif							/* CPM_COUNTER_TRANSFER_H */
