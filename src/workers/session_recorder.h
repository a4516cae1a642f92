/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_recorder.h
 *		Records the busy sessions of each sample in the session history.
 */
#ifndef CPM_SESSION_RECORDER_H
#define CPM_SESSION_RECORDER_H

#include "base/session.h"

/*
 * Begin a sample, add each session of the scan (those that are not busy are ignored) with the
 * index of its pool or -1, and end the sample, which makes it visible to readers. "at" is the time
 * of the sample. Do nothing if the history is off. The sampler only.
 */
extern void cpm_recorder_begin(int64 interval_ms);
extern void cpm_recorder_add(const CpmSession *session, int pool, TimestampTz at);
extern void cpm_recorder_end(TimestampTz at);

#endif							/* CPM_SESSION_RECORDER_H */
