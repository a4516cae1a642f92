/*
 * slots.h
 *		A slot for each backend, in which it counts what it does.
 */
#ifndef CPM_SLOTS_H
#define CPM_SLOTS_H

#include "base/histogram.h"
#include "base/pool.h"
#include "base/query_counts.h"
#include "datatype/timestamp.h"

/* The session of a slot, as its counters tell it. */
typedef struct CpmSlotSession
{
	int			pid;			/* 0: the slot has no session */
	TimestampTz started_at;		/* of the process: pids and slots are reused */
	int			pool;			/* index in store/pools */
	CpmQueryCounts counts;		/* of this session */
} CpmSlotSession;

extern Size cpm_slots_size(void);
extern void cpm_slots_attach(void *memory, bool is_new);

/*
 * The calling backend's own slot. Open it once, when the session is let in, and
 * close it when the process ends; in between it counts. None of these raises
 * an error; opening, closing and following may take the lock of store/pools.
 */
extern void cpm_slot_open(TimestampTz now);
extern void cpm_slot_close(TimestampTz now, CpmSessionEnd how);
extern bool cpm_slot_is_open(void);

/* Go over to the pool of the application_name that is set now, if it is another. */
extern void cpm_slot_follow_application(TimestampTz now);

/* A statement has ended. */
extern void cpm_slot_count_statement(int64 elapsed_us, bool failed, bool slow);

/* A transaction has ended; the session has been busy. */
extern void cpm_slot_count_transaction(void);
extern void cpm_slot_add_busy(int64 busy_us);

/* Names of the own session's pool. */
extern const CpmPoolName *cpm_slot_pool_name(void);

/* Readers: any process, no lock, zeros when the library is not preloaded. */

/* Of all sessions since the server started; they never fall. */
extern CpmQueryCounts cpm_slots_counts(void);
extern void cpm_slots_histogram(CpmHistogram *histogram);

/* The longest statement since peaks were last reset; 0 for none. */
extern int64 cpm_slots_max_us(void);
extern void cpm_slots_reset_max(void);

/*
 * The longest statement of each tick: a stretch of time that ends when the
 * sampler begins the next. Only the running tick and the one before it are known.
 */
extern uint32 cpm_slots_tick(void);
extern int64 cpm_slots_tick_max_us(uint32 tick);
extern void cpm_slots_next_tick(void);

/* The session whose PGPROC has that number; false when there is none, or no slot. */
extern bool cpm_slot_session(int proc_number, CpmSlotSession *session);

/* Only its pool, or -1; as cheap as it can be. */
extern int	cpm_slot_pool(int proc_number, int pid);

extern int	cpm_slots_places(void);

/*
 * Add to a pool what the session of that PGPROC has counted in it and not yet
 * given to it. Between two looks at cpm_pools_at_rest().
 */
extern void cpm_slot_add_to_pool(int proc_number, CpmPool *pools_by_index);

#endif							/* CPM_SLOTS_H */
