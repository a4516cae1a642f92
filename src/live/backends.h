/* SPDX-License-Identifier: PostgreSQL */
/*
 * backends.h
 *		Scans the client sessions in PostgreSQL's shared memory.
 */
#ifndef CPM_BACKENDS_H
#define CPM_BACKENDS_H

#include "base/lock_wait.h"
#include "base/session.h"
#include "base/set_back.h"
#include "c.h"

typedef void (*CpmSessionVisitor) (const CpmSession *session, void *arg);

/*
 * Visit every client session, in no particular order. "scan" determines which fields are set.
 * Returns the number of connection slots in use, including those of authenticating sessions that
 * have no backend status yet and are not visited.
 *
 * Any process with a backend status may call this, and a worker if cpm_backends_is_published().
 * Takes no lock, and raises an error only if CPM_SCAN_QUERIES runs out of memory. But if the
 * library is not preloaded, reads catalogs to look up the roles of sessions that may be exempt.
 */
extern int	cpm_backends_scan(CpmScan scan, CpmSessionVisitor visit, void *arg);

typedef void (*CpmProcWaitVisitor) (const CpmProcWait *wait, void *arg);

/*
 * Visit every process that waits for a heavyweight lock, even if it is not a client session. Any
 * process; takes no lock and cannot fail. When a wait has just begun, its start may still be that
 * of an earlier wait of the process.
 */
extern void cpm_backends_scan_waits(CpmProcWaitVisitor visit, void *arg);

/* Return true if the process is a client session. Any process; takes ProcArrayLock (shared). */
extern bool cpm_backends_is_client(int pid);

/*
 * Among the waits of the process and of the parallel workers that it leads, find the longest one
 * for a heavyweight lock. Returns false if none of them waits. *since is corrected if the clock
 * was set back. Any process; takes ProcArrayLock (shared).
 */
extern bool cpm_backends_longest_wait(int pid, int *waiter_pid, TimestampTz *since);

/*
 * Return true if the process with this PGPROC and pid waits for no heavyweight lock and did not
 * get the lock for which it last waited. May also return true for a moment while the process is
 * being granted the lock. Any process; takes no lock.
 */
extern bool cpm_backends_lock_wait_failed(int proc_number, int pid);

/*
 * Read all fields of the client session of a PGPROC, except that query is NULL. Returns false if
 * there is no session. Any process that may call cpm_backends_scan(); takes no lock. Allocates
 * pgstat_track_activity_query_size bytes and frees them.
 */
extern bool cpm_backends_read(int proc_number, CpmSession *session);

extern Size cpm_backends_size(void);
extern void cpm_backends_attach(void *memory, bool is_new);

/*
 * Publish the address of the backend status array, because workers that have no backend status of
 * their own cannot compute it. The sampler and every session call this; only the first call has an
 * effect. The library must be preloaded.
 */
extern void cpm_backends_publish(void);

/* Return true if any process has published the address. Any process. */
extern bool cpm_backends_is_published(void);

/*
 * Detect whether the system clock was set back or forward since the previous call. If so, record
 * the times from before the step, so that all later scans correct them. Returns the step. The
 * sampler calls this before each sample; no other process may.
 */
extern CpmClockStep cpm_backends_check_clock(void);

#endif							/* CPM_BACKENDS_H */
