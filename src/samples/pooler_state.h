/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_state.h
 *		The last answers of the PgBouncer consoles, and the PgBouncer to which each session
 *		belongs, if any.
 */
#ifndef CPM_POOLER_STATE_H
#define CPM_POOLER_STATE_H

#include "base/pooler.h"
#include "base/session.h"

#define CPM_MAX_POOLER_SERIES 50	/* pools of each PgBouncer with a series in /metrics; the
									 * others share the series "other" */

extern Size cpm_poolers_size(void);
extern void cpm_poolers_attach(void *memory, bool is_new);

/*
 * Return the number of configured consoles; 0 if the library is not preloaded. The functions
 * below take the index of a console in connpool_monitor.pgbouncer.
 */
extern int	cpm_poolers_count(void);

/*
 * Publish a complete answer of a console, or the failure of an attempt to get one. The first
 * function sets listed_since and has_series of each pool in the answer. PgBouncer worker only;
 * takes no lock, cannot fail.
 */
extern void cpm_pooler_record_answer(int pooler, CpmPoolerAnswer *answer);
extern void cpm_pooler_record_failure(int pooler, const char *error, int64 retry_us);

/*
 * Record that the session is a server connection of the pooler. PgBouncer worker only; takes no
 * lock, cannot fail.
 */
extern void cpm_pooler_claim_session(int pooler, int proc_number, const CpmSession *session);

/* Return the state of a console. Any process; takes no lock. */
extern CpmPoolerState cpm_pooler_state(int pooler);

/* Return the next attempt's time, by the clock as it is set now; 0 while the console is up. */
extern TimestampTz cpm_pooler_retry_at(const CpmPoolerState *state);

/*
 * Copy the last answer of a console; returns false if there is none, or if the worker was stopped
 * while it wrote one. Any process; takes no lock.
 */
extern bool cpm_pooler_answer(int pooler, CpmPoolerAnswer *answer);

/*
 * Return true if the console is up and its last answer is fresh: at most three polling intervals
 * old, or three seconds if the intervals are shorter. Any process; takes no lock.
 */
extern bool cpm_pooler_is_fresh(int pooler);

/*
 * The freshness of all consoles together. Callers compute it once for a pass over many sessions.
 */
typedef struct CpmPoolersFreshness
{
	bool		all_fresh;		/* at least one console is configured and all are fresh */
	TimestampTz oldest;			/* when the console with the oldest answer was queried, corrected
								 * if the clock was set back since; undefined unless all_fresh */
} CpmPoolersFreshness;

extern CpmPoolersFreshness cpm_poolers_freshness(void);

typedef enum CpmPooling
{
	CPM_POOLING_UNKNOWN,		/* newer than the oldest answer, or not all answers are fresh */
	CPM_POOLING_DIRECT,
	CPM_POOLING_POOLED
} CpmPooling;

/*
 * Return whether the session is a server connection of a pooler. If it is, sets *pooler to the
 * index of the pooler's console. Any process; takes no lock.
 */
extern CpmPooling cpm_pooling_of(const CpmSession *session, const CpmPoolersFreshness *freshness,
								 int *pooler);

/*
 * Return the number of clients that wait for a server connection, summed over the fresh consoles;
 * NaN if none is fresh. Any process; takes no lock.
 */
extern double cpm_poolers_waiting(void);

#endif							/* CPM_POOLER_STATE_H */
