/* SPDX-License-Identifier: PostgreSQL */
/*
 * backends.h
 *		One pass over PostgreSQL's own record of its client sessions.
 */
#ifndef CPM_BACKENDS_H
#define CPM_BACKENDS_H

#include "base/session.h"
#include "c.h"

typedef void (*CpmSessionVisitor) (const CpmSession *session, void *arg);

/*
 * Visit every client session that PostgreSQL shows, in no promised order, and
 * return the number of connection slots in use (sessions still authenticating
 * included, which it may not show).
 *
 * with_details also fills the wait event of sessions that are not active, query,
 * its id and the address; the query is palloc'd. Takes no lock, may be called in any
 * process that has a backend status. Raises nothing without details; with them, what palloc does.
 */
extern int	cpm_backends_scan(bool with_details, CpmSessionVisitor visit, void *arg);

/*
 * A worker that is there before PostgreSQL lets it have a backend status finds the
 * array where others have said that it is: the sampler, and every session that opens.
 */
extern Size cpm_backends_size(void);
extern void cpm_backends_attach(void *memory, bool is_new);
extern void cpm_backends_publish(void);
extern bool cpm_backends_is_published(void);

#endif							/* CPM_BACKENDS_H */
