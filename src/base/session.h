/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		A client session as one pass over the backends sees it, and the
 *		questions that the metrics ask of it.
 *
 * The questions are here and not in the pass or in the views, so that a view
 * lists exactly the sessions that the metric of the same name counts.
 */
#ifndef CPM_SESSION_H
#define CPM_SESSION_H

#include "base/metric.h"
#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "pg_config_manual.h"

typedef enum CpmState
{
	CPM_STATE_UNKNOWN,			/* authenticating, or its status never settled */
	CPM_STATE_DISABLED,			/* track_activities is off in that session */
	CPM_STATE_STARTING,			/* authenticating, as 18 shows it */
	CPM_STATE_IDLE,
	CPM_STATE_ACTIVE,
	CPM_STATE_FASTPATH,
	CPM_STATE_IDLE_IN_TRANSACTION,
	CPM_STATE_IDLE_IN_TRANSACTION_ABORTED
} CpmState;

#define CPM_STATES (CPM_STATE_IDLE_IN_TRANSACTION_ABORTED + 1)

/* By pg_stat_activity's names; NULL where that has NULL. */
extern const char *cpm_state_name(CpmState state);

/* The ages from which the metrics count, in microseconds; from the settings. */
typedef struct CpmAges
{
	int64		long_transaction_us;
	int64		leak_us;
	int64		leak_idle_us;
	int64		blocked_us;
	int64		slow_statement_us;
} CpmAges;

typedef struct CpmSession
{
	int			pid;
	int			proc_number;	/* of its PGPROC: where its slot is */
	Oid			database;
	Oid			role;			/* as logged in, not as SET ROLE made it */
	CpmState	state;
	bool		exempt;			/* exempt_applications names it, and exempt_limit is not over */
	TimestampTz connected_at;	/* 0 where there is none, here and below */
	TimestampTz xact_start;
	TimestampTz query_start;
	TimestampTz state_change;
	TimestampTz lock_wait_start;	/* waiting for a heavyweight lock since */
	TimestampTz client_wait_since;	/* waiting for its client in a transaction since */
	int64		copied_bytes;	/* what its COPY has read or written; 0 unless active */
	uint32		wait_event_info;	/* of active sessions; of others only with details */
	char		application_name[NAMEDATALEN];

	/* Only when the pass was asked for details. */
	uint64		queryid;
	SockAddr	client_addr;
	char	   *query;			/* palloc'd */

	/* The application of its pool, set by callers of cpm_newest_of_pools(). */
	const char *pool_application;
} CpmSession;

/* A prepared transaction: it holds locks without a session. */
typedef struct CpmPrepared
{
	TransactionId xid;
	Oid			database;
	Oid			owner;
	TimestampTz prepared_at;
	char		gid[200];		/* empty where it is not known */
} CpmPrepared;

/* Microseconds since a moment; 0 for no moment and for one in the future. */
static inline int64
cpm_age_us(TimestampTz now, TimestampTz since)
{
	return (since == 0 || since > now) ? 0 : now - since;
}

static inline bool
cpm_is_idle_in_transaction(const CpmSession *session)
{
	return session->state == CPM_STATE_IDLE_IN_TRANSACTION ||
		session->state == CPM_STATE_IDLE_IN_TRANSACTION_ABORTED;
}

static inline bool
cpm_is_active(const CpmSession *session)
{
	return session->state == CPM_STATE_ACTIVE || session->state == CPM_STATE_FASTPATH;
}

static inline bool
cpm_is_long_transaction(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && session->xact_start != 0 &&
		cpm_age_us(now, session->xact_start) > ages->long_transaction_us;
}

/* A statement that runs for long, whoever runs it. */
static inline bool
cpm_runs_long(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return cpm_is_active(session) && cpm_age_us(now, session->query_start) > ages->slow_statement_us;
}

static inline bool
cpm_is_long_query(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && cpm_runs_long(session, now, ages);
}

static inline bool
cpm_is_blocked(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	/* of a session that does not track its activities only its slot counts */
	return session->lock_wait_start != 0 && session->state != CPM_STATE_DISABLED &&
		cpm_age_us(now, session->lock_wait_start) > ages->blocked_us;
}

/* An open transaction that does nothing for longer than leak_age. */
static inline bool
cpm_is_leaked_transaction(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && cpm_is_idle_in_transaction(session) &&
		cpm_age_us(now, session->state_change) > ages->leak_us;
}

/* An open transaction whose statement has waited for its client for longer than leak_age. */
static inline bool
cpm_is_kept_waiting_by_client(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && cpm_age_us(now, session->client_wait_since) > ages->leak_us;
}

/* Return the moment from which the age of a leak suspect counts. */
static inline TimestampTz
cpm_suspect_since(const CpmSession *session)
{
	return session->client_wait_since != 0 ? session->client_wait_since : session->state_change;
}

/* Does the session count for a metric that counts sessions? False for others. */
static inline bool
cpm_session_counts(CpmMetricId metric, const CpmSession *session, TimestampTz now,
				   const CpmAges *ages)
{
	switch (metric)
	{
		case CPM_ACTIVE_CONNECTIONS:
			return cpm_is_active(session);
		case CPM_IDLE_CONNECTIONS:
			return session->state == CPM_STATE_IDLE;
		case CPM_IDLE_IN_TRANSACTION:
			return cpm_is_idle_in_transaction(session);
		case CPM_LONG_TRANSACTIONS:
			return cpm_is_long_transaction(session, now, ages);
		case CPM_LEAK_SUSPECTS:
			return cpm_is_leaked_transaction(session, now, ages) ||
				cpm_is_kept_waiting_by_client(session, now, ages);
		case CPM_BLOCKED_SESSIONS:
			return cpm_is_blocked(session, now, ages);
		case CPM_LONG_QUERIES:
			return cpm_is_long_query(session, now, ages);
		default:
			return false;
	}
}

static inline bool
cpm_is_leaked_prepared(const CpmPrepared *prepared, TimestampTz now, const CpmAges *ages)
{
	return cpm_age_us(now, prepared->prepared_at) > ages->leak_us;
}

#endif							/* CPM_SESSION_H */
