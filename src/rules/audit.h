/* SPDX-License-Identifier: PostgreSQL */
/*
 * audit.h
 *		Seven practices, each judged on what this server has shown.
 */
#ifndef CPM_AUDIT_H
#define CPM_AUDIT_H

#include "base/leak.h"
#include "base/pool.h"

/* In the order of the document that the extension grew from. */
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

/* A timeout, and how many pools of ordinary roles have it set. */
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

/* What was gathered; counts since the last reset. Lists are text, ready to be shown. */
typedef struct CpmAuditEvidence
{
	double		seconds;		/* since the reset */

	uint64		sessions_opened;
	uint64		transactions;
	int			churning;		/* pools whose sessions hardly do anything before they end */
	const CpmPool *worst;		/* the one of them that opened most sessions, or NULL */
	bool		opens_too_fast; /* connections_per_second is not OK now */
	double		pooled;			/* connections through a PgBouncer; NaN: not known */
	double		direct;			/* and past it */

	uint64		retryable;		/* errors that trying again can help */
	char		retryable_kinds[CPM_AUDIT_LIST_SIZE];

	bool		is_sampling;
	uint64		samples;
	uint64		samples_missed;
	int			metrics;
	int			alerting;		/* of them, with a threshold and not silent */
	bool		tracks_queries;
	bool		failures_exact;

	int			role_databases; /* of ordinary roles that have had sessions */
	int			has_timeout[CPM_TIMEOUTS];	/* of them */
	uint64		timeouts_fired[CPM_TIMEOUTS];
	char		without[CPM_AUDIT_LIST_SIZE];	/* those without one of the first three */

	int			cache_candidates;	/* -1: pg_stat_statements is not there */
	double		cache_ms;
	int			batch_candidates;	/* the same */
	double		batch_ms;

	CpmLeakCounts leaks[CPM_LEAK_KINDS];
	int			suspects;		/* now */
	uint64		sessions_ended;
	uint64		sessions_abandoned;
} CpmAuditEvidence;

#define CPM_AUDIT_TEXT_SIZE 1000

typedef struct CpmAuditFinding
{
	CpmAuditStatus status;
	char		evidence[CPM_AUDIT_TEXT_SIZE];
	char		advice[CPM_AUDIT_TEXT_SIZE];	/* empty when there is nothing to do */
} CpmAuditFinding;

/* Pure. */
extern void cpm_audit(CpmPractice practice, const CpmAuditEvidence *evidence,
					  CpmAuditFinding *finding);

/* Do its sessions end before they were of use: is the pool none? */
extern bool cpm_pool_churns(const CpmPool *pool);

extern const char *cpm_practice_name(CpmPractice practice);
extern const char *cpm_timeout_setting(CpmTimeout timeout);

/* OK, ADVICE, WARNING, UNKNOWN */
extern const char *cpm_audit_status_name(CpmAuditStatus status);

#endif							/* CPM_AUDIT_H */
