/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_recorder.h
 *		Records the busy sessions of each sample in the session history.
 */
#ifndef CPM_SESSION_RECORDER_H
#define CPM_SESSION_RECORDER_H

#include "base/session.h"

/*
 * Begin a sample that represents interval_ms. The sampler only, like the next two functions; all
 * three do nothing if the history is off.
 */
extern void cpm_recorder_begin(int64 interval_ms);

/*
 * Add a session to the sample if the session is busy. pool is the index of its pool, or -1; "at"
 * is the time of the sample.
 */
extern void cpm_recorder_add(const CpmSession *session, int pool, TimestampTz at);

/* End the sample, which makes it visible to readers. */
extern void cpm_recorder_end(TimestampTz at);

#endif							/* CPM_SESSION_RECORDER_H */
