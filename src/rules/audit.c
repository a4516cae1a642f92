/* SPDX-License-Identifier: PostgreSQL */
/*
 * audit.c
 *		Evaluates seven practices of connection handling from the server's observations.
 *
 * Each finding includes the numbers on which it is based, whatever its status. The server cannot
 * observe retries by clients, so that practice is UNKNOWN if there were errors to retry; the
 * numbers show how many.
 */
#include "postgres.h"

#include <math.h>

#include "base/attributes.h"
#include "rules/audit.h"

#define MIN_TRANSACTIONS 100	/* with fewer, the status of pooling is unknown */

/*
 * A pool churns if it opened at least CHURN_SESSIONS sessions, which ran fewer than
 * CHURN_TRANSACTIONS transactions on average.
 */
#define CHURN_SESSIONS 50
#define CHURN_TRANSACTIONS 5
#define FAST_PER_SECOND 1.0		/* sessions per second from which churning is a WARNING */

#define MIN_DIRECT 10			/* fewer direct connections are ignored */

/*
 * Clients are advised to close their connections if they abandoned at least MIN_ABANDONED
 * sessions, and more than ABANDONED_SHARE of the sessions that ended.
 */
#define MIN_ABANDONED 10
#define ABANDONED_SHARE 0.1

static void
CPM_PRINTF(3, 4)
set_finding(CpmAuditFinding *finding, CpmAuditStatus status, const char *format,...)
{
	va_list		arguments;

	finding->status = status;
	va_start(arguments, format);
	vsnprintf(finding->evidence, sizeof(finding->evidence), format, arguments);
	va_end(arguments);
}

static void
CPM_PRINTF(2, 3)
append_evidence(CpmAuditFinding *finding, const char *format,...)
{
	size_t		used = strlen(finding->evidence);
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(finding->evidence + used, sizeof(finding->evidence) - used, format, arguments);
	va_end(arguments);
}

static void
set_advice(CpmAuditFinding *finding, const char *advice)
{
	strlcpy(finding->advice, advice, sizeof(finding->advice));
}

bool
cpm_pool_churns(const CpmPool *pool)
{
	return pool->opened >= CHURN_SESSIONS &&
		pool->counts.of[CPM_TRANSACTIONS] < pool->opened * CHURN_TRANSACTIONS;
}

static void
evaluate_pooling(const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	const CpmPool *worst = evidence->worst;
	double		transactions_each = evidence->sessions_opened > 0 ?
		(double) evidence->transactions / (double) evidence->sessions_opened : 0;

	set_finding(finding, CPM_AUDIT_OK,
				UINT64_FORMAT " sessions opened in %.0f s ran %.1f transactions each",
				evidence->sessions_opened, evidence->seconds, transactions_each);
	if (!isnan(evidence->pooled))
		append_evidence(finding, "; %.0f connections come through PgBouncer, %.0f directly",
						evidence->pooled, evidence->direct);
	if (worst != NULL)
	{
		bool		is_fast = evidence->opens_too_fast ||
			(double) worst->opened >= FAST_PER_SECOND * evidence->seconds;

		append_evidence(finding, "; %d pool%s sessions for fewer than %d transactions, "
						"most of them %s: " UINT64_FORMAT " sessions with %.1f",
						evidence->churning, evidence->churning == 1 ? " opens" : "s open",
						CHURN_TRANSACTIONS,
						cpm_pool_label(&worst->name), worst->opened,
						(double) worst->counts.of[CPM_TRANSACTIONS] / (double) worst->opened);
		finding->status = is_fast ? CPM_AUDIT_WARNING : CPM_AUDIT_ADVICE;
		set_advice(finding, "Let that application keep its connections: a pool in its driver, or "
				   "PgBouncer in front of it. connpool_pool_advice says how many it needs, and "
				   "in which mode.");
	}
	/* False if the numbers are unknown, because NaN compares as false. */
	else if (evidence->direct >= MIN_DIRECT && evidence->direct > evidence->pooled)
	{
		finding->status = CPM_AUDIT_ADVICE;
		set_advice(finding, "Most connections bypass the pooler: see connpool_sessions where "
				   "pooled_by is NULL.");
	}
	else if (evidence->opens_too_fast)
	{
		finding->status = CPM_AUDIT_WARNING;
		set_advice(finding, "Connections are opened faster than connections_per_second allows: "
				   "see sessions_opened in connpool_pools.");
	}
	else if (evidence->transactions < MIN_TRANSACTIONS)
		finding->status = CPM_AUDIT_UNKNOWN;
}

static void
evaluate_retries(const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	if (evidence->retryable == 0)
	{
		set_finding(finding, CPM_AUDIT_OK, "no error that trying again could help in %.0f s",
					evidence->seconds);
		return;
	}
	set_finding(finding, CPM_AUDIT_UNKNOWN,
				UINT64_FORMAT " errors that trying again could help: %s",
				evidence->retryable, evidence->retryable_kinds);
	set_advice(finding, "The server cannot see whether clients try again. They should, a few "
			   "times and after growing pauses: whole transactions after 40001 and 40P01, "
			   "connections after 53300 and 57P03. Never after a refused password.");
}

static void
evaluate_monitoring(const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	set_finding(finding, CPM_AUDIT_OK,
				UINT64_FORMAT " samples taken and " UINT64_FORMAT " missed since the start; "
				"%d of %d metrics raise alerts; statements are %s%s",
				evidence->samples, evidence->samples_missed, evidence->alerting, evidence->metrics,
				evidence->tracks_queries ? "counted" : "not counted",
				evidence->failures_exact ? "" : "; log_min_messages hides some failures");
	if (!evidence->is_sampling)
	{
		finding->status = CPM_AUDIT_WARNING;
		set_advice(finding, "The sampler does not run: see problem in connpool_info().");
	}
	else if (evidence->alerting == 0)
	{
		finding->status = CPM_AUDIT_WARNING;
		set_advice(finding, "No metric raises an alert: every threshold is off or silent. Set "
				   "some, or nobody is warned.");
	}
	else if (!evidence->tracks_queries || !evidence->failures_exact)
	{
		finding->status = CPM_AUDIT_ADVICE;
		set_advice(finding, evidence->tracks_queries ?
				   "Let log_min_messages show ERROR, so that every failure is counted." :
				   "Turn connpool_monitor.track_queries on.");
	}
}

static void
evaluate_timeouts(const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	const int  *has_timeout = evidence->has_timeout;
	bool		has_leaks = evidence->leaks[CPM_LEAK_IDLE_IN_TRANSACTION].detected > 0;

	finding->status = CPM_AUDIT_OK;
	for (int i = 0; i < CPM_TIMEOUTS; i++)
	{
		append_evidence(finding, "%s%s is set for %d of %d", i > 0 ? ", " : "",
						cpm_timeout_setting(i), has_timeout[i], evidence->role_databases);
		if (i != CPM_TCP_KEEPALIVE)
			append_evidence(finding, " and fired " UINT64_FORMAT " times%s",
							evidence->timeouts_fired[i],
							i == CPM_STATEMENT_TIMEOUT ? " (cancelled statements included)" :
							i == CPM_LOCK_TIMEOUT ? " (NOWAIT included)" : "");
		if (i <= CPM_IDLE_IN_TRANSACTION_TIMEOUT && has_timeout[i] < evidence->role_databases)
			finding->status = CPM_AUDIT_ADVICE;
	}
	if (evidence->role_databases == 0)
		set_finding(finding, CPM_AUDIT_UNKNOWN, "no ordinary role has had a session yet");
	if (finding->status != CPM_AUDIT_ADVICE)
		return;
	if (has_timeout[CPM_IDLE_IN_TRANSACTION_TIMEOUT] < evidence->role_databases && has_leaks)
		finding->status = CPM_AUDIT_WARNING;
	snprintf(finding->advice, sizeof(finding->advice),
			 "Set them by role or database, as in ALTER ROLE app SET statement_timeout = '30s'; "
			 "lock_timeout and idle_in_transaction_session_timeout likewise. "
			 "One is missing for %s.",
			 evidence->without);
}

static void
evaluate_candidates(CpmAuditFinding *finding, int candidates, double total_ms, const char *pattern,
					const char *advice)
{
	if (candidates < 0)
	{
		set_finding(finding, CPM_AUDIT_UNKNOWN, "pg_stat_statements is not available");
		set_advice(finding, "Add pg_stat_statements to shared_preload_libraries, and CREATE "
				   "EXTENSION pg_stat_statements in this database.");
		return;
	}
	set_finding(finding, candidates > 0 ? CPM_AUDIT_ADVICE : CPM_AUDIT_OK,
				"%d statement%s like %s, %.0f ms in all", candidates,
				candidates == 1 ? " looks" : "s look", pattern, total_ms);
	if (candidates > 0)
		set_advice(finding, advice);
}

static void
evaluate_clean_up(const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	uint64		detected = 0;
	uint64		released = 0;
	uint64		abandoned = evidence->sessions_abandoned;
	bool		many_abandoned = abandoned >= MIN_ABANDONED &&
		(double) abandoned > ABANDONED_SHARE * (double) evidence->sessions_ended;

	for (int i = CPM_NO_LEAK + 1; i < CPM_LEAK_KINDS; i++)
	{
		detected += evidence->leaks[i].detected;
		released += evidence->leaks[i].released;
	}
	set_finding(finding, CPM_AUDIT_OK,
				UINT64_FORMAT " leak suspects in %.0f s, " UINT64_FORMAT " of them came back to "
				"work, %d are there now; clients abandoned " UINT64_FORMAT " of " UINT64_FORMAT
				" sessions that ended",
				detected, evidence->seconds, released, evidence->suspects,
				abandoned, evidence->sessions_ended);
	if (evidence->suspects > 0 || detected > 0)
	{
		finding->status = evidence->suspects > 0 ? CPM_AUDIT_WARNING : CPM_AUDIT_ADVICE;
		set_advice(finding, evidence->suspects > 0 ?
				   "connpool_leaks lists them, and how many sessions wait for each. End a "
				   "session with pg_terminate_backend(), a prepared transaction with ROLLBACK "
				   "PREPARED." :
				   "connpool_leak_log says which applications forgot a connection, and for how "
				   "long. Release it in a finally block, or where the language has them, by a "
				   "scope.");
	}
	else if (many_abandoned)
	{
		finding->status = CPM_AUDIT_ADVICE;
		set_advice(finding, "Clients disappear without closing their connections: see "
				   "sessions_abandoned in connpool_pools. Close pools when the application "
				   "stops.");
	}
	else if (evidence->sessions_opened == 0)
		finding->status = CPM_AUDIT_UNKNOWN;
}

void
cpm_audit(CpmPractice practice, const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	memset(finding, 0, sizeof(*finding));
	switch (practice)
	{
		case CPM_PRACTICE_POOLING:
			evaluate_pooling(evidence, finding);
			break;
		case CPM_PRACTICE_RETRIES:
			evaluate_retries(evidence, finding);
			break;
		case CPM_PRACTICE_MONITORING:
			evaluate_monitoring(evidence, finding);
			break;
		case CPM_PRACTICE_TIMEOUTS:
			evaluate_timeouts(evidence, finding);
			break;
		case CPM_PRACTICE_CACHING:
			evaluate_candidates(finding, evidence->cache_candidates, evidence->cache_ms,
								"repeated reads of what hardly changes",
								"See connpool_cache_candidates: the application could cache "
								"their results for a while.");
			break;
		case CPM_PRACTICE_BATCHING:
			evaluate_candidates(finding, evidence->batch_candidates, evidence->batch_ms,
								"loops over single rows (with confidence high)",
								"See connpool_batch_candidates: replace each loop by one "
								"statement that handles many rows.");
			break;
		case CPM_PRACTICE_CLEAN_UP:
			evaluate_clean_up(evidence, finding);
			break;
	}
}

const char *
cpm_practice_name(CpmPractice practice)
{
	static const char *const names[CPM_PRACTICES] = {
		"connection pooling", "retries", "monitoring", "timeouts", "caching", "batching",
		"resource clean-up",
	};

	return names[practice];
}

const char *
cpm_timeout_setting(CpmTimeout timeout)
{
	static const char *const settings[CPM_TIMEOUTS] = {
		"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
		"idle_session_timeout", "tcp_keepalives_idle",
	};

	return settings[timeout];
}

const char *
cpm_audit_status_name(CpmAuditStatus status)
{
	static const char *const names[] = {"UNKNOWN", "OK", "ADVICE", "WARNING"};

	return names[status];
}
