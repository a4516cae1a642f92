/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_counters.h
 *		How many sessions there have been and are, how long they lasted, and how
 *		long they took to set up: over the whole server.
 */
#ifndef CPM_SESSION_COUNTERS_H
#define CPM_SESSION_COUNTERS_H

#include "base/stream.h"
#include "datatype/timestamp.h"

extern Size cpm_session_counters_size(void);
extern void cpm_session_counters_attach(void *memory, bool is_new);

/* A session opens or ends. Its own process, once; atomics only, cannot fail. */
extern void cpm_session_opened(int64 setup_us);
extern void cpm_session_ended(int64 duration_us);

/* Since the server started. Any process; 0 when the library is not preloaded. */
extern uint64 cpm_sessions_opened(void);

/* How long sessions took to set up, and those that ended lasted, since the last reset. */
extern void cpm_session_histograms(CpmHistogram *setup, CpmHistogram *duration);
extern void cpm_session_counters_reset(void);

/*
 * Sessions that are open are written as if they ended now: should the server
 * crash, they will have. Loading is for the postmaster, before anybody else is
 * there.
 */
extern void cpm_session_counters_save(CpmSink *sink, TimestampTz now);
extern bool cpm_session_counters_load(CpmSource *source);

/*
 * The most sessions that were open at once since the last call. The sampler
 * only: the next peak begins with the sessions that are open now.
 */
extern uint32 cpm_sessions_take_peak(void);

#endif							/* CPM_SESSION_COUNTERS_H */
