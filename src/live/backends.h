/* SPDX-License-Identifier: PostgreSQL */
/*
 * backends.h
 *		Scans the client sessions in PostgreSQL's shared memory.
 */
#ifndef CPM_BACKENDS_H
#define CPM_BACKENDS_H

#include "base/lock_wait.h"
#include "base/session.h"
#include "c.h"

typedef void (*CpmSessionVisitor) (const CpmSession *session, void *arg);

/*
 * Visit every client session, in no particular order. Returns the number of connection slots in
 * use, including those of authenticating sessions that have no backend status yet and are not
 * visited.
 *
 * Reads what the scan names. Any process with a backend status, or a worker if
 * cpm_backends_is_published(). Takes no lock. Only CPM_SCAN_QUERIES can fail: it may run out of
 * memory.
 */
extern int	cpm_backends_scan(CpmScan scan, CpmSessionVisitor visit, void *arg);

/*
 * Visit every process that waits for a heavyweight lock, client session or not. Any process; takes
 * no lock and cannot fail. When a wait has just begun, its start may still be that of an earlier
 * wait of the process.
 */
typedef void (*CpmProcWaitVisitor) (const CpmProcWait *wait, void *arg);

extern void cpm_backends_scan_waits(CpmProcWaitVisitor visit, void *arg);

/*
 * Read the client session of a PGPROC, with its details; query is NULL. Returns false if there is
 * none. Any process that may call cpm_backends_scan(); takes no lock; allocates some memory.
 */
extern bool cpm_backends_read(int proc_number, CpmSession *session);

extern Size cpm_backends_size(void);
extern void cpm_backends_attach(void *memory, bool is_new);

/*
 * Publish the address of the backend status array, for workers that start before PostgreSQL gives
 * them a backend status. The sampler and every session call this; only the first call has an
 * effect. The library must be preloaded.
 */
extern void cpm_backends_publish(void);

/* Return true if any process has published the address. Any process. */
extern bool cpm_backends_is_published(void);

/*
 * Compare the system clock with the monotonic clock, and record by how much it was set back. The
 * sampler only, before each sample.
 */
extern void cpm_backends_check_clock(void);

/*
 * Return a timestamp of the past as the present clock would have given it. A timestamp in the
 * future is one from before the clock was set back, and would have no age until the clock has
 * caught up. Any process; takes no lock.
 */
extern TimestampTz cpm_past_timestamp(TimestampTz timestamp, TimestampTz now);

#endif							/* CPM_BACKENDS_H */
