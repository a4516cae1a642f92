/* SPDX-License-Identifier: PostgreSQL */
/*
 * leak_log.h
 *		What was suspected of having been forgotten: each occurrence once, and what
 *		became of it.
 */
#ifndef CPM_LEAK_LOG_H
#define CPM_LEAK_LOG_H

#include "base/leak.h"
#include "base/ring.h"
#include "base/session.h"
#include "base/stream.h"

extern Size cpm_leak_log_size(void);
extern void cpm_leak_log_attach(void *memory, bool is_new);

/*
 * One round of the sampler: begin it, show every session and every prepared
 * transaction with what it is taken for now, end it. What is over is told to
 * the visitor, which may be NULL. The sampler only; takes no lock, allocates
 * nothing.
 */
typedef void (*CpmLeakVisitor) (const CpmLeakEnd *leak);

extern void cpm_leaks_round_begin(TimestampTz now, CpmLeakVisitor over);
extern void cpm_leaks_observe_session(const CpmSession *session, CpmLeakKind kind);
extern void cpm_leaks_observe_prepared(const CpmPrepared *prepared, bool is_leak);
extern void cpm_leaks_round_end(void);

/* Any process; no lock. */
extern CpmLeakCounts cpm_leak_counts(CpmLeakKind kind);
extern int	cpm_leaks_open(CpmLeakKind kind);	/* that are suspected now */
extern void cpm_leak_log_scan(CpmRingVisitor visit, void *arg);

extern void cpm_leak_log_reset(void);

/*
 * Sessions that are suspected are written as ended, for by the time it is loaded
 * they will have; prepared transactions go on.
 */
extern void cpm_leak_log_save(CpmSink *sink);
extern bool cpm_leak_log_load(CpmSource *source);

#endif							/* CPM_LEAK_LOG_H */
