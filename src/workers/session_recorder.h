/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_recorder.h
 *		Records the busy sessions of each sample in the session history.
 */
#ifndef CPM_SESSION_RECORDER_H
#define CPM_SESSION_RECORDER_H

#include "base/session.h"

/*
 * Begin a sample; add a session of the scan with the index of its pool, or -1; end the sample,
 * which makes it visible to readers. Sessions that are not busy are ignored. "at" is the time of
 * the sample. These functions do nothing if the history is off. The sampler only.
 */
extern void cpm_recorder_begin(int64 interval_ms);
extern void cpm_recorder_add(const CpmSession *session, int pool, TimestampTz at);
extern void cpm_recorder_end(TimestampTz at);

#endif							/* CPM_SESSION_RECORDER_H */
