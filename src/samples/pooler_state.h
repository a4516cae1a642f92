/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_state.h
 *		What is known of the PgBouncers that are asked, and which sessions are theirs.
 */
#ifndef CPM_POOLER_STATE_H
#define CPM_POOLER_STATE_H

#include "base/pooler.h"
#include "base/session.h"

extern Size cpm_poolers_size(void);
extern void cpm_poolers_attach(void *memory, bool is_new);

/* Consoles that are configured; 0 without any, and when the library is not preloaded. */
extern int	cpm_poolers_count(void);

/*
 * The worker only: a console has given a whole answer, with the server
 * connections of its that are sessions of ours; or it has not. Nothing here
 * raises an error or takes a lock.
 */
extern void cpm_pooler_answered(int pooler, const CpmPoolerAnswer *answer);
extern void cpm_pooler_claim_session(int pooler, int proc_number, const CpmSession *session);
extern void cpm_pooler_failed(int pooler, const char *error, TimestampTz retry_at);

/* Any process; takes no lock. The state of a console; its last answer, false for none yet. */
extern CpmPoolerState cpm_pooler_state(int pooler);
extern bool cpm_pooler_answer(int pooler, CpmPoolerAnswer *answer);

/* Does its last answer tell of now? Not after three intervals, nor while it is down. */
extern bool cpm_pooler_is_fresh(int pooler, TimestampTz now);

/* What all poolers together can tell of sessions, asked once for many of those. */
typedef struct CpmPoolersAsked
{
	bool		all_fresh;		/* each answer tells of now, and there is one */
	TimestampTz oldest;			/* when the one that was asked longest ago was asked */
} CpmPoolersAsked;

extern CpmPoolersAsked cpm_poolers_asked(TimestampTz now);

typedef enum CpmPooling
{
	CPM_POOLING_UNKNOWN,		/* too young, or an answer is missing */
	CPM_POOLING_DIRECT,
	CPM_POOLING_POOLED
} CpmPooling;

/* Through which pooler does a session come? *pooler is set when it is pooled. */
extern CpmPooling cpm_pooling_of(const CpmSession *session, const CpmPoolersAsked *asked,
								 int *pooler);

/* Clients that wait for a connection in those that are fresh; NaN when none is. */
extern double cpm_poolers_waiting(TimestampTz now);

#endif							/* CPM_POOLER_STATE_H */
