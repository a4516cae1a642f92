/* SPDX-License-Identifier: PostgreSQL */
/*
 * leak_log.h
 *		Counts suspected leaks, which are forgotten sessions and prepared transactions,
 *		and logs how each ended.
 */
#ifndef CPM_LEAK_LOG_H
#define CPM_LEAK_LOG_H

#include "base/leak.h"
#include "base/ring.h"
#include "base/session.h"
#include "base/stream.h"

extern Size cpm_leak_log_size(void);
extern void cpm_leak_log_attach(void *memory, bool is_new);

typedef void (*CpmLeakVisitor) (const CpmLeakEnd *leak);

/*
 * Process a sample: begin the round; pass each session with the kind of leak that it is suspected
 * of now, and each prepared transaction; end the round. Calls visit_end, unless it is NULL, for
 * each leak that has ended. cpm_leaks_observe_prepared() returns true if the transaction is or was
 * a suspect. The sampler only; takes no lock and allocates no memory.
 */

extern void cpm_leaks_round_begin(TimestampTz now, CpmLeakVisitor visit_end);
extern void cpm_leaks_observe_session(const CpmSession *session, CpmLeakKind kind);
extern bool cpm_leaks_observe_prepared(const CpmPrepared *prepared, bool is_leak);
extern void cpm_leaks_round_end(void);

/* Return the counts since the last reset. Any process; takes no lock. */
extern CpmLeakCounts cpm_leak_counts(CpmLeakKind kind);

/* Return the number of leaks suspected now. Any process; takes no lock. */
extern int	cpm_open_leaks(CpmLeakKind kind);

/* Call visit(CpmLeakEnd, arg) for each logged end, newest first. Any process; takes no lock. */
extern void cpm_leak_log_scan(CpmRingVisitor visit, void *arg);

/*
 * Reset counts and log. The leaks that are suspected now count as detected at that time. The
 * caller ensures that no two resets run concurrently.
 */
extern void cpm_leak_log_reset(TimestampTz now);

/*
 * The counts, the suspected prepared transactions and the log in the statistics file. Saves
 * suspected sessions as ended at the time of the save, because they will have ended before the
 * file is loaded.
 */
extern const CpmFilePart cpm_leak_counts_part;
extern const CpmFilePart cpm_prepared_leaks_part;
extern const CpmFilePart cpm_leak_log_part;

#endif							/* CPM_LEAK_LOG_H */
