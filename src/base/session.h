/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.h
 *		A client session as live/backends reads it, and the conditions that metrics count.
 *
 * The conditions are defined here once, so that a view lists exactly the sessions that the metric
 * of the same name counts. Plain values; no locks.
 */
#ifndef CPM_SESSION_H
#define CPM_SESSION_H

#include "base/metric.h"
#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "pg_config_manual.h"

typedef enum CpmState
{
	CPM_STATE_UNKNOWN,			/* not ready for its first statement */
	CPM_STATE_DISABLED,			/* track_activities is off in that session */
	CPM_STATE_STARTING,			/* authenticating; reported by PostgreSQL 18 and later */
	CPM_STATE_IDLE,
	CPM_STATE_ACTIVE,
	CPM_STATE_FASTPATH,
	CPM_STATE_IDLE_IN_TRANSACTION,
	CPM_STATE_IDLE_IN_TRANSACTION_ABORTED
} CpmState;

#define CPM_STATES (CPM_STATE_IDLE_IN_TRANSACTION_ABORTED + 1)

/* Return the state's name in pg_stat_activity; NULL where that view shows NULL. */
extern const char *cpm_state_name(CpmState state);

/* The ages, in microseconds, beyond which metrics count a session or transaction (settings). */
typedef struct CpmAges
{
	int64		long_transaction_us;
	int64		leak_us;
	int64		leak_idle_us;
	int64		blocked_us;
	int64		slow_statement_us;
} CpmAges;

/* How much cpm_backends_scan() (live/backends) reads. Each level includes the previous one. */
typedef enum CpmScan
{
	CPM_SCAN_STATES,			/* fields for metrics, and the wait event of active sessions */
	CPM_SCAN_ACTIVITY,			/* also the statement, wait and client of each busy session */
	CPM_SCAN_QUERIES			/* all fields of all sessions, and the query text */
} CpmScan;

typedef struct CpmSession
{
	int			pid;
	int			proc_number;	/* index of its PGPROC and of its slot */
	int			waiter_number;	/* index of the PGPROC to which lock_wait_start belongs */
	Oid			database;
	Oid			role;			/* session_user at login, regardless of SET ROLE */
	CpmState	state;
	bool		exempt;			/* in exempt_applications, and not beyond exempt_limit */

	/*
	 * As PostgreSQL recorded them. They identify the session, its transaction, its statement, its
	 * state and its wait. Do not compute ages from them, because the clock may have been set back
	 * since.
	 */
	TimestampTz connected_at;	/* 0: none; likewise the times below */
	TimestampTz recorded_xact_start;
	TimestampTz recorded_query_start;
	TimestampTz recorded_state_change;
	TimestampTz recorded_lock_wait_start;

	/* Corrected if the clock was set back since. Use these for ages and comparisons. */
	TimestampTz opened_at;		/* corrected connected_at */
	TimestampTz xact_start;
	TimestampTz query_start;
	TimestampTz state_change;
	TimestampTz lock_wait_start;	/* start of its wait for a heavyweight lock, which may be that
									 * of a parallel worker */
	TimestampTz client_wait_since;	/* start of its wait for its client within a transaction */

	uint64		client_wait_id; /* identifies that wait; 0: none */
	int64		copied_bytes;	/* read or written by its running COPY; -1 for none */
	uint32		wait_event_info;	/* 0: none, or not read */
	char		application_name[NAMEDATALEN];

	/* 0 and AF_UNSPEC if not read */
	uint64		queryid;
	SockAddr	client_addr;

	char	   *query;			/* set only by CPM_SCAN_QUERIES; palloc'd; the visitor may free it */

	/*
	 * The application of its pool. The scan does not set it; callers of cpm_newest_of_pools() do.
	 */
	const char *pool_application;
} CpmSession;

/* A prepared transaction, which holds locks without a session. */
typedef struct CpmPrepared
{
	TransactionId xid;
	Oid			database;
	Oid			owner;
	TimestampTz prepared_at;
	char		gid[200];		/* empty: unknown */
} CpmPrepared;

/* Return the microseconds since a time; 0 if it is unset or in the future. */
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

/* Return true if a statement has run longer than slow_statement_time; ignores exemptions. */
static inline bool
cpm_has_long_statement(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return cpm_is_active(session) &&
		cpm_age_us(now, session->query_start) > ages->slow_statement_us;
}

static inline bool
cpm_is_long_query(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && cpm_has_long_statement(session, now, ages);
}

static inline bool
cpm_is_blocked(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	/* a session with track_activities off counts as a connection only */
	return session->lock_wait_start != 0 && session->state != CPM_STATE_DISABLED &&
		cpm_age_us(now, session->lock_wait_start) > ages->blocked_us;
}

/* Return true if the session has been idle in transaction for longer than leak_age. */
static inline bool
cpm_is_leaked_transaction(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && cpm_is_idle_in_transaction(session) &&
		cpm_age_us(now, session->state_change) > ages->leak_us;
}

/* Return true if a statement in a transaction has waited for its client longer than leak_age. */
static inline bool
cpm_is_kept_waiting_by_client(const CpmSession *session, TimestampTz now, const CpmAges *ages)
{
	return !session->exempt && cpm_age_us(now, session->client_wait_since) > ages->leak_us;
}

/* Return the time from which the age of a leak suspect is measured. */
static inline TimestampTz
cpm_suspect_since(const CpmSession *session)
{
	return session->client_wait_since != 0 ? session->client_wait_since : session->state_change;
}

/*
 * Return an identifier of the wait or the state that began at cpm_suspect_since(). It does not
 * change when the system clock is set back.
 */
static inline uint64
cpm_suspect_id(const CpmSession *session)
{
	return session->client_wait_id != 0 ? session->client_wait_id :
		(uint64) session->recorded_state_change;
}

/* Return true if the metric counts this session; false for metrics that do not count sessions. */
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
