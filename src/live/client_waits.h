/* SPDX-License-Identifier: PostgreSQL */
/*
 * client_waits.h
 *		Since when sessions have been waiting for their clients.
 */
#ifndef CPM_CLIENT_WAITS_H
#define CPM_CLIENT_WAITS_H

#include "base/session.h"
#include "c.h"

extern Size cpm_client_waits_size(void);
extern void cpm_client_waits_attach(void *memory, bool is_new);

/*
 * Return the first of the samples that found the session in the wait in which it is now; 0 if
 * it is in none, if no sample has seen it yet, or if the library is not preloaded. The session
 * is as the running pass has read it. Any process; no lock.
 */
extern TimestampTz cpm_client_wait_since(const CpmSession *session);

/* Record whether a sample finds the session waiting. The sampler only, for each session. */
extern void cpm_client_wait_note(const CpmSession *session, TimestampTz sampled_at);

#endif							/* CPM_CLIENT_WAITS_H */
