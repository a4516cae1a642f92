/* SPDX-License-Identifier: PostgreSQL */
/*
 * client_waits.h
 *		Records since when sessions have been waiting for their clients.
 */
#ifndef CPM_CLIENT_WAITS_H
#define CPM_CLIENT_WAITS_H

#include "base/session.h"
#include "c.h"

extern Size cpm_client_waits_size(void);
extern void cpm_client_waits_attach(void *memory, bool is_new);

/*
 * Return the time of the first sample that found the session in its current wait; 0 if it does not
 * wait, if no sample has found this wait yet, or if the library is not preloaded. Sets *id to an
 * identifier of the wait, or to 0. The session must come from the caller's current scan, with
 * proc_number and wait_event_info set. Any process; takes no lock.
 */
extern TimestampTz cpm_client_wait_since(const CpmSession *session, uint64 *id);

/*
 * Record whether the session is waiting for its client. The sampler calls this for each session
 * of each sample; no other process may.
 */
extern void cpm_client_wait_record(const CpmSession *session);

#endif							/* CPM_CLIENT_WAITS_H */
