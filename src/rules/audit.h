/* SPDX-License-Identifier: PostgreSQL */
/*
 * audit.h
 *		Evaluates seven practices of connection handling from the server's observations.
 */
#ifndef CPM_AUDIT_H
#define CPM_AUDIT_H

#include "base/leak.h"
#include "base/pool.h"

/* In the order in which connpool_audit() returns them. */
typedef enum CpmPractice
{
	CPM_PRACTICE_POOLING,
	CPM_PRACTICE_RETRIES,
	CPM_PRACTICE_MONITORING,
	CPM_PRACTICE_TIMEOUTS,
	CPM_PRACTICE_CACHING,
	CPM_PRACTICE_BATCHING,
	CPM_PRACTICE_CLEAN_UP
} CpmPractice;

#define CPM_PRACTICES (CPM_PRACTICE_CLEAN_UP + 1)

typedef enum CpmAuditStatus
{
	CPM_AUDIT_UNKNOWN,
	CPM_AUDIT_OK,
	CPM_AUDIT_ADVICE,
	CPM_AUDIT_WARNING
} CpmAuditStatus;

/*
 * Timeouts that the audit reports for ordinary roles. Only the lack of one of the first three
 * leads to ADVICE.
 */
typedef enum CpmTimeout
{
	CPM_STATEMENT_TIMEOUT,
	CPM_LOCK_TIMEOUT,
	CPM_IDLE_IN_TRANSACTION_TIMEOUT,
	CPM_IDLE_SESSION_TIMEOUT,
	CPM_TCP_KEEPALIVE
} CpmTimeout;

#define CPM_TIMEOUTS (CPM_TCP_KEEPALIVE + 1)

#define CPM_AUDIT_LIST_SIZE 400

/* The evidence for all practices. Counts are since the last reset; lists are ready for display. */
typedef struct CpmAuditEvidence
{
	double		seconds;		/* since the last reset */

	/* pooling */
	uint64		sessions_opened;
	uint64		transactions;
	int			churning;		/* number of pools for which cpm_pool_churns() is true */
	const CpmPool *worst;		/* the churning pool that opened most sessions; or NULL */
	bool		opens_too_fast; /* connections_per_second is not OK now */
	double		pooled;			/* connections through a PgBouncer; NaN if unknown */
	double		direct;			/* all other connections; NaN if unknown */

	/* retries */
	uint64		retryable;		/* errors after which a retry may succeed */
	char		retryable_kinds[CPM_AUDIT_LIST_SIZE];

	/* monitoring */
	bool		is_sampling;	/* the sampler runs and takes samples */
	uint64		samples;		/* since the server started */
	uint64		samples_missed;
	int			metrics;		/* number of metrics that exist here */
	int			alerting;		/* number of metrics with a threshold that are not silent */
	bool		tracks_queries;
	bool		failures_exact; /* log_min_messages hides no error from the counters */

	/* timeouts */
	int			role_databases; /* pairs of ordinary role and database that have had sessions */
	int			has_timeout[CPM_TIMEOUTS];	/* number of pairs with the timeout set */
	uint64		timeouts_fired[CPM_TIMEOUTS];
	char		without[CPM_AUDIT_LIST_SIZE];	/* pairs without one of the first three timeouts */

	/* caching and batching */
	int			cache_candidates;	/* -1 if pg_stat_statements is not available */
	double		cache_ms;		/* total time of these statements */
	int			batch_candidates;	/* as above */
	double		batch_ms;

	/* clean-up */
	CpmLeakCounts leaks[CPM_LEAK_KINDS];
	int			suspects;		/* at present */
	uint64		sessions_ended;
	uint64		sessions_abandoned; /* ended sessions whose client did not close the connection */
} CpmAuditEvidence;

#define CPM_AUDIT_TEXT_SIZE 1000

typedef struct CpmAuditFinding
{
	CpmAuditStatus status;
	char		evidence[CPM_AUDIT_TEXT_SIZE];
	char		advice[CPM_AUDIT_TEXT_SIZE];	/* empty if there is nothing to do */
} CpmAuditFinding;

/* Evaluate one practice. Pure. */
extern void cpm_audit(CpmPractice practice, const CpmAuditEvidence *evidence,
					  CpmAuditFinding *finding);

/*
 * Return true if the pool's sessions end after so few transactions that its application seems not
 * to pool connections. Pure.
 */
extern bool cpm_pool_churns(const CpmPool *pool);

extern const char *cpm_practice_name(CpmPractice practice);

/* Return the name of the PostgreSQL setting. */
extern const char *cpm_timeout_setting(CpmTimeout timeout);

/* Return "UNKNOWN", "OK", "ADVICE" or "WARNING". */
extern const char *cpm_audit_status_name(CpmAuditStatus status);

#endif							/* CPM_AUDIT_H */
