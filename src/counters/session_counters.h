/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_counters.h
 *		Server-wide counters of sessions: opened, open, their durations and setup times.
 */
#ifndef CPM_SESSION_COUNTERS_H
#define CPM_SESSION_COUNTERS_H

#include "base/histogram.h"
#include "base/stream.h"
#include "datatype/timestamp.h"

extern Size cpm_session_counters_size(void);
extern void cpm_session_counters_attach(void *memory, bool is_new);

/* Count a session that opens or ends. Its process calls each once. No lock, no error. */
extern void cpm_session_opened(int64 setup_us);
extern void cpm_session_ended(int64 duration_us);

/*
 * Return the number of sessions opened since the server started, plus those loaded at startup. Any
 * process; 0 if the library is not preloaded.
 */
extern uint64 cpm_sessions_opened(void);

/*
 * Return the setup times of sessions that have opened, and the durations of sessions that have
 * ended, since the last reset. The second function resets both; its caller must exclude other
 * resets. Any process; takes no lock.
 */
extern void cpm_session_histograms(CpmHistogram *setup, CpmHistogram *duration);
extern void cpm_session_counters_reset(void);

/*
 * The counters in the statistics file. The saver records open sessions as ended, because if the
 * postmaster loads the file after a crash, the crash has ended them.
 */
extern const CpmFilePart cpm_session_counters_part;

/*
 * Return the largest number of sessions that were open at once since the last call, and begin the
 * next peak with the number open now. The sampler only.
 */
extern uint32 cpm_sessions_take_peak(void);

#endif							/* CPM_SESSION_COUNTERS_H */
