/* SPDX-License-Identifier: PostgreSQL */
/*
 * audit.c
 *		Seven practices, each judged on what this server has shown.
 *
 * Evidence is said in numbers whatever the verdict. What a server cannot see (a
 * client that tries again) is UNKNOWN, with the numbers that make it matter.
 */
#include "postgres.h"

#include <math.h>

#include "base/attributes.h"
#include "rules/audit.h"

#define FEWEST_TRANSACTIONS 100
#define CHURN_SESSIONS 50
#define CHURN_TRANSACTIONS 5	/* a session that ran fewer was hardly worth its opening */
#define FAST_PER_SECOND 1.0
#define ABANDONED_SHARE 0.1
#define FEWEST_DIRECT 10

static void
CPM_PRINTF(3, 4)
find(CpmAuditFinding *finding, CpmAuditStatus status, const char *format,...)
{
	va_list		arguments;

	finding->status = status;
	va_start(arguments, format);
	vsnprintf(finding->evidence, sizeof(finding->evidence), format, arguments);
	va_end(arguments);
}

static void
CPM_PRINTF(2, 3)
add_evidence(CpmAuditFinding *finding, const char *format,...)
{
	size_t		used = strlen(finding->evidence);
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(finding->evidence + used, sizeof(finding->evidence) - used, format, arguments);
	va_end(arguments);
}

static void
advise(CpmAuditFinding *finding, const char *advice)
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
judge_pooling(const CpmAuditEvidence *seen, CpmAuditFinding *finding)
{
	const CpmPool *worst = seen->worst;
	double		each = seen->sessions_opened > 0 ?
		(double) seen->transactions / (double) seen->sessions_opened : 0;

	find(finding, CPM_AUDIT_OK, UINT64_FORMAT " sessions opened in %.0f s ran %.1f transactions each",
		 seen->sessions_opened, seen->seconds, each);
	if (!isnan(seen->pooled))
		add_evidence(finding, "; %.0f connections come through PgBouncer, %.0f directly", seen->pooled, seen->direct);
	if (worst != NULL)
	{
		bool		is_fast = seen->opens_too_fast ||
			(double) worst->opened >= FAST_PER_SECOND * seen->seconds;

		add_evidence(finding, "; %d pool%s sessions for fewer than %d transactions, most of them %s: " UINT64_FORMAT " sessions with %.1f",
					 seen->churning, seen->churning == 1 ? " opens" : "s open", CHURN_TRANSACTIONS,
					 cpm_pool_label(&worst->name), worst->opened,
					 (double) worst->counts.of[CPM_TRANSACTIONS] / (double) worst->opened);
		finding->status = is_fast ? CPM_AUDIT_WARNING : CPM_AUDIT_ADVICE;
		advise(finding, "Let that application keep its connections: a pool in its driver, or PgBouncer in front of it. connpool_pool_advice says how many it needs, and in which mode.");
	}
	else if (seen->direct >= FEWEST_DIRECT && seen->direct > seen->pooled)
	{
		finding->status = CPM_AUDIT_ADVICE;
		advise(finding, "Most connections come past the pooler: see connpool_sessions where pooled_by is NULL.");
	}
	else if (seen->opens_too_fast)
	{
		finding->status = CPM_AUDIT_WARNING;
		advise(finding, "Connections are opened faster than connections_per_second allows: see sessions_opened in connpool_pools.");
	}
	else if (seen->transactions < FEWEST_TRANSACTIONS)
		finding->status = CPM_AUDIT_UNKNOWN;
}

static void
judge_retries(const CpmAuditEvidence *seen, CpmAuditFinding *finding)
{
	if (seen->retryable == 0)
	{
		find(finding, CPM_AUDIT_OK, "no error that trying again could help in %.0f s", seen->seconds);
		return;
	}
	find(finding, CPM_AUDIT_UNKNOWN, UINT64_FORMAT " errors that trying again could help: %s",
		 seen->retryable, seen->retryable_kinds);
	advise(finding, "The server cannot see whether clients try again. They should, a few times and after growing pauses: whole transactions after 40001 and 40P01, connections after 53300 and 57P03. Never after a refused password.");
}

static void
judge_monitoring(const CpmAuditEvidence *seen, CpmAuditFinding *finding)
{
	find(finding, CPM_AUDIT_OK, UINT64_FORMAT " samples taken and " UINT64_FORMAT " missed since the start; %d of %d metrics raise alerts; statements are %s%s",
		 seen->samples, seen->samples_missed, seen->alerting, seen->metrics,
		 seen->tracks_queries ? "counted" : "not counted",
		 seen->failures_exact ? "" : "; log_min_messages hides some failures");
	if (!seen->is_sampling)
	{
		finding->status = CPM_AUDIT_WARNING;
		advise(finding, "The sampler does not run: connpool_info() says what to mend.");
	}
	else if (seen->alerting == 0)
	{
		finding->status = CPM_AUDIT_WARNING;
		advise(finding, "No metric raises an alert: every threshold is off or silent. Set some, or nobody is warned.");
	}
	else if (!seen->tracks_queries || !seen->failures_exact)
	{
		finding->status = CPM_AUDIT_ADVICE;
		advise(finding, seen->tracks_queries ?
			   "Let log_min_messages show ERROR, so that every failure is counted." :
			   "Turn connpool_monitor.track_queries on.");
	}
}

static void
judge_timeouts(const CpmAuditEvidence *seen, CpmAuditFinding *finding)
{
	const CpmLeakCounts *leaks = &seen->leaks[CPM_LEAK_IDLE_IN_TRANSACTION];
	size_t		used = 0;

	finding->status = CPM_AUDIT_OK;
	for (int i = 0; i < CPM_TIMEOUTS && used < sizeof(finding->evidence); i++)
	{
		used += snprintf(finding->evidence + used, sizeof(finding->evidence) - used,
						 "%s%s is set for %d of %d", i > 0 ? ", " : "", cpm_timeout_setting(i),
						 seen->has_timeout[i], seen->role_databases);
		if (i != CPM_TCP_KEEPALIVE && used < sizeof(finding->evidence))
			used += snprintf(finding->evidence + used, sizeof(finding->evidence) - used,
							 " and fired " UINT64_FORMAT " times%s", seen->timeouts_fired[i],
							 i == CPM_STATEMENT_TIMEOUT ? " (cancelled statements included)" :
							 i == CPM_LOCK_TIMEOUT ? " (NOWAIT included)" : "");
		if (i <= CPM_IDLE_IN_TRANSACTION_TIMEOUT && seen->has_timeout[i] < seen->role_databases)
			finding->status = CPM_AUDIT_ADVICE;
	}
	if (seen->role_databases == 0)
		find(finding, CPM_AUDIT_UNKNOWN, "no ordinary role has had a session yet");
	if (finding->status != CPM_AUDIT_ADVICE)
		return;
	if (seen->has_timeout[CPM_IDLE_IN_TRANSACTION_TIMEOUT] < seen->role_databases && leaks->detected > 0)
		finding->status = CPM_AUDIT_WARNING;
	snprintf(finding->advice, sizeof(finding->advice),
			 "Set them by role or database, as in ALTER ROLE app SET statement_timeout = '30s'; lock_timeout and idle_in_transaction_session_timeout likewise. One is missing for %s.",
			 seen->without);
}

static void
judge_candidates(CpmAuditFinding *finding, int candidates, double total_ms, const char *what,
				 const char *advice)
{
	if (candidates < 0)
	{
		find(finding, CPM_AUDIT_UNKNOWN, "pg_stat_statements is not there to tell");
		advise(finding, "Add pg_stat_statements to shared_preload_libraries, and CREATE EXTENSION pg_stat_statements in this database.");
		return;
	}
	find(finding, candidates > 0 ? CPM_AUDIT_ADVICE : CPM_AUDIT_OK,
		 "%d statement%s like %s, %.0f ms in all", candidates, candidates == 1 ? " looks" : "s look", what, total_ms);
	if (candidates > 0)
		advise(finding, advice);
}

static void
judge_clean_up(const CpmAuditEvidence *seen, CpmAuditFinding *finding)
{
	uint64		detected = 0;
	uint64		released = 0;
	bool		many_abandoned = seen->sessions_abandoned >= 10 &&
		(double) seen->sessions_abandoned > ABANDONED_SHARE * (double) seen->sessions_ended;

	for (int i = CPM_NO_LEAK + 1; i < CPM_LEAK_KINDS; i++)
	{
		detected += seen->leaks[i].detected;
		released += seen->leaks[i].released;
	}
	find(finding, CPM_AUDIT_OK,
		 UINT64_FORMAT " leak suspects in %.0f s, " UINT64_FORMAT " of them came back to work, %d are there now; clients abandoned " UINT64_FORMAT " of " UINT64_FORMAT " sessions that ended",
		 detected, seen->seconds, released, seen->suspects, seen->sessions_abandoned, seen->sessions_ended);
	if (seen->suspects > 0 || detected > 0)
	{
		finding->status = seen->suspects > 0 ? CPM_AUDIT_WARNING : CPM_AUDIT_ADVICE;
		advise(finding, seen->suspects > 0 ?
			   "connpool_leaks names them, and what waits for them. End a session with pg_terminate_backend(), a prepared transaction with ROLLBACK PREPARED." :
			   "connpool_leak_log says which applications forgot a connection, and for how long. Release it in a finally block, or where the language has them, by a scope.");
	}
	else if (many_abandoned)
	{
		finding->status = CPM_AUDIT_ADVICE;
		advise(finding, "Clients go away without closing their connection: see sessions_abandoned in connpool_pools. Close pools when the application stops.");
	}
	else if (seen->sessions_opened == 0)
		finding->status = CPM_AUDIT_UNKNOWN;
}

void
cpm_audit(CpmPractice practice, const CpmAuditEvidence *evidence, CpmAuditFinding *finding)
{
	memset(finding, 0, sizeof(*finding));
	switch (practice)
	{
		case CPM_PRACTICE_POOLING:
			judge_pooling(evidence, finding);
			break;
		case CPM_PRACTICE_RETRIES:
			judge_retries(evidence, finding);
			break;
		case CPM_PRACTICE_MONITORING:
			judge_monitoring(evidence, finding);
			break;
		case CPM_PRACTICE_TIMEOUTS:
			judge_timeouts(evidence, finding);
			break;
		case CPM_PRACTICE_CACHING:
			judge_candidates(finding, evidence->cache_candidates, evidence->cache_ms,
							 "repeated reads of what hardly changes",
							 "See connpool_cache_candidates: their results could be kept by the application for a while.");
			break;
		case CPM_PRACTICE_BATCHING:
			judge_candidates(finding, evidence->batch_candidates, evidence->batch_ms,
							 "loops over single rows (with confidence high)",
							 "See connpool_batch_candidates: one statement for many rows saves as many round trips.");
			break;
		case CPM_PRACTICE_CLEAN_UP:
			judge_clean_up(evidence, finding);
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
