/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejections.h
 *		Refused connections: counters by reason, and a log of the latest.
 */
#ifndef CPM_REJECTIONS_H
#define CPM_REJECTIONS_H

#include "base/rejection.h"
#include "base/ring.h"
#include "base/stream.h"
#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "pg_config_manual.h"
#include "port/atomics.h"

#define CPM_REJECTION_LOG_ENTRIES 500	/* for each reason */

typedef struct CpmRejectionCount
{
	uint64		count;			/* since the last reset */
	TimestampTz last_seen;		/* 0 if none since the last reset */
} CpmRejectionCount;

/*
 * A refused connection attempt, with the names that the client claimed. Identical attempts share
 * an entry if each is made within a minute of the previous one. cpm_rejections_add() sets last_at,
 * attempts, first_at and sequence; its caller sets the other fields. The sampler corrects both
 * times if the clock is set back.
 */
typedef struct CpmRejected
{
	/* written by each process that counts a repetition, without a lock */
	pg_atomic_uint64 last_at;	/* a TimestampTz */
	pg_atomic_uint64 attempts;

	/* written by the process that appends the entry */
	TimestampTz first_at;
	uint64		sequence;		/* higher than that of each earlier entry */
	CpmRejection reason;
	char		database[NAMEDATALEN];
	char		role[NAMEDATALEN];
	char		application_name[NAMEDATALEN];
	SockAddr	client_addr;
} CpmRejected;

extern Size cpm_rejections_size(void);
extern void cpm_rejections_attach(void *memory, bool is_new);

/*
 * Count and log a refused attempt. Works in processes without a PGPROC: takes no lock, allocates
 * no memory and raises no error.
 */
extern void cpm_rejections_add(const CpmRejected *refused, TimestampTz at);

/*
 * Any process may call the functions from here to cpm_rejections_log_scan(). They take no lock. If
 * the library is not preloaded, they report no refused attempts.
 */

/* Return the number of attempts refused for a reason since the last reset. */
extern CpmRejectionCount cpm_rejections_count(CpmRejection reason);

/*
 * Return how many attempts were refused because no connection slot was free, that is, for the
 * reasons too_many and reserved. Resets have no effect.
 */
extern uint64 cpm_slot_rejections(void);

/*
 * Return true if the last refusal for either of these reasons, since the server started, is less
 * than age_us ago by the monotonic clock. Resets have no effect.
 */
extern bool cpm_slot_rejected_within(int64 age_us);

/* Call visit(CpmRejected, arg) for each log entry: reason by reason, the newest first in each. */
extern void cpm_rejections_log_scan(CpmRingVisitor visit, void *arg);

/*
 * Reset counters and log. Takes no lock; an attempt refused meanwhile counts before or after it.
 */
extern void cpm_rejections_reset(void);

/* The counters and the log in the statistics file. */
extern const CpmFilePart cpm_rejection_counts_part;
extern const CpmFilePart cpm_rejection_log_part;

#endif							/* CPM_REJECTIONS_H */
