/* SPDX-License-Identifier: PostgreSQL */
/*
 * advice.c
 *		How large a pool should be, and whether it can be pooled by transaction.
 *
 * The size is what sufficed for 99 % of the time: the number of connections that
 * were busy, as sampled, was higher for the rest only. It is a measured number
 * and no model, for arrivals come in bursts and clients wait for each other;
 * Little's law, the processors' bound and the slots that all pools share are
 * said beside it, for a person to judge by.
 *
 * A pool can be pooled by transaction when none of its sessions did anything that
 * outlives one. One such use is proof; that there was none is worth as much as
 * was observed.
 */
#include "postgres.h"

#include "base/attributes.h"
#include "rules/advice.h"

static const char *const feature_names[CPM_FEATURES] = {
	"set", "listen", "with_hold_cursor", "sql_prepare", "temp_table", "load", "advisory_lock",
};

const char *
cpm_feature_name(CpmFeature feature)
{
	return feature_names[feature];
}

const char *
cpm_pool_mode_name(CpmPoolMode mode)
{
	return mode == CPM_MODE_TRANSACTION ? "transaction" : mode == CPM_MODE_SESSION ? "session" : NULL;
}

static void
CPM_PRINTF(2, 3)
say(CpmPoolAdvice *advice, const char *format,...)
{
	va_list		arguments;

	if (advice->reasons >= CPM_MOST_REASONS)
		return;
	va_start(arguments, format);
	vsnprintf(advice->reason[advice->reasons++], CPM_REASON_SIZE, format, arguments);
	va_end(arguments);
}

static uint64
transactions_of(const CpmPoolEvidence *evidence)
{
	return evidence->pool->counts.of[CPM_TRANSACTIONS];
}

static bool
is_enough(const CpmPoolEvidence *evidence)
{
	return !evidence->is_mixed && evidence->busy.samples >= CPM_ADVICE_SAMPLES &&
		transactions_of(evidence) >= CPM_ADVICE_TRANSACTIONS;
}

/* "once", "3 times" */
static const char *
times(uint64 count, char *text, size_t size)
{
	if (count == 1)
		return "once";
	snprintf(text, size, UINT64_FORMAT " times", count);
	return text;
}

/* What was seen that needs a session of its own. */
static void
judge_features(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	char		seen[CPM_REASON_SIZE] = "";
	char		count[32];
	size_t		used = 0;

	for (int i = 0; i < CPM_FEATURES; i++)
	{
		if (evidence->pool->feature[i] == 0)
			continue;
		advice->features |= 1U << i;
		if (used < sizeof(seen))
			used += snprintf(seen + used, sizeof(seen) - used, "%s%s (%s)", used > 0 ? ", " : "",
							 feature_names[i], times(evidence->pool->feature[i], count, sizeof(count)));
	}
	if (evidence->is_mixed)
		return;
	if (advice->features != 0)
	{
		advice->mode = CPM_MODE_SESSION;
		say(advice, "transaction mode would break what its sessions used: %s", seen);
	}
	else if (is_enough(evidence))
	{
		advice->mode = CPM_MODE_TRANSACTION;
		say(advice, "nothing that transaction mode breaks was used in " UINT64_FORMAT " transactions",
			transactions_of(evidence));
	}
}

/* Transactions a second times the time that each takes is the number under way. */
static void
say_littles_law(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	double		seconds = (double) evidence->busy.observed_tenths / 10;
	double		transactions = (double) transactions_of(evidence);
	double		busy_ms = (double) evidence->pool->counts.of[CPM_BUSY_TIME_US] / 1000;

	say(advice, "%.1f transactions a second of %.1f ms each keep %.1f connections busy (Little's law); sampled were %.1f",
		transactions / seconds, busy_ms / transactions, busy_ms / 1000 / seconds,
		cpm_busy_mean(&evidence->busy));
}

static void
say_size(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	const CpmPool *pool = evidence->pool;

	say(advice, "%d connection%s sufficed for 99 %% of the time: busy were %u in the median, %u for 95 %%, %u for 99 %%, %u at most",
		advice->size, advice->size == 1 ? "" : "s", advice->p50, advice->p95, advice->p99, pool->peak_busy);
	if (advice->p99 >= pool->peak_connections && pool->peak_connections > 1)
		say(advice, "all its %u connections were busy at times: clients may have waited, and more could be of use",
			pool->peak_connections);
	else if (pool->peak_connections > (uint32) advice->size)
		say(advice, "it had up to %u connections: %u more than that", pool->peak_connections,
			pool->peak_connections - (uint32) advice->size);
	if (pool->policy.limit[CPM_POOL_MAX] > 0 && pool->policy.limit[CPM_POOL_MAX] < advice->size)
		say(advice, "its pool_max of %d is less than that", pool->policy.limit[CPM_POOL_MAX]);
	if (advice->mode == CPM_MODE_SESSION)
		say(advice, "a pooler in session mode needs one for each client that stays connected, not only for those that are busy");
}

/* What the server has for all pools together. */
static void
say_bounds(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	int			at_once = 2 * evidence->processors + 1;
	int			wanted = evidence->wanted_by_all;

	if (evidence->processors > 0 && advice->size > at_once)
		say(advice, "%d processors work on some %d statements at once (twice as many and one): beyond that, connections help only while they wait for locks, disks or their client",
			evidence->processors, at_once);
	if (wanted > evidence->usable_slots)
		say(advice, "all pools together would need %d of %d usable slots: too many, shorten transactions or raise max_connections",
			wanted, evidence->usable_slots);
	else if (2 * wanted > evidence->usable_slots)
		say(advice, "all pools together would need %d of %d usable slots: not enough for a deployment that runs twice",
			wanted, evidence->usable_slots);
	else if (wanted > 0)
		say(advice, "all pools together would need %d of %d usable slots", wanted, evidence->usable_slots);
}

/* What the pooler in front of it is set to, beside what was measured. */
static void
say_pooler(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	const CpmPoolerAnswer *answer = evidence->answer;
	int64		pool_size;

	if (evidence->pooler == NULL || answer == NULL)
		return;
	pool_size = answer->setting[CPM_DEFAULT_POOL_SIZE];
	say(advice, "%d of its %u connections come through PgBouncer %s: pool_mode %s, default_pool_size " INT64_FORMAT ", max_client_conn " INT64_FORMAT ", query_wait_timeout " INT64_FORMAT " s",
		evidence->pooled, evidence->pool->connections, evidence->pooler, answer->pool_mode,
		pool_size, answer->setting[CPM_MAX_CLIENT_CONN], answer->setting[CPM_QUERY_WAIT_TIMEOUT]);
	if (advice->features != 0 && strcmp(answer->pool_mode, "session") != 0)
		say(advice, "that mode breaks what its sessions use: give its database or user pool_mode session there");
	else if (advice->mode == CPM_MODE_TRANSACTION && strcmp(answer->pool_mode, "session") == 0)
		say(advice, "pool_mode transaction would do there, and let clients share connections");
	if (advice->size > 0 && pool_size != CPM_POOLER_NULL && pool_size < advice->size)
		say(advice, "default_pool_size is " INT64_FORMAT " less than it needs", (int64) advice->size - pool_size);
}

void
cpm_advise(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	memset(advice, 0, sizeof(*advice));
	advice->p50 = cpm_busy_percentile(&evidence->busy, 0.50);
	advice->p95 = cpm_busy_percentile(&evidence->busy, 0.95);
	advice->p99 = cpm_busy_percentile(&evidence->busy, 0.99);
	judge_features(evidence, advice);
	if (!is_enough(evidence))
	{
		if (evidence->is_mixed)
			say(advice, "several applications in one: raise max_pools to tell them apart");
		else
			say(advice, "not enough observed for a size: %u of %d samples, " UINT64_FORMAT " of %d transactions",
				evidence->busy.samples, CPM_ADVICE_SAMPLES, transactions_of(evidence),
				CPM_ADVICE_TRANSACTIONS);
		say_pooler(evidence, advice);
		return;
	}
	advice->size = Min(Max((int) advice->p99, 1), evidence->usable_slots);
	say_size(evidence, advice);
	say_littles_law(evidence, advice);
	say_bounds(evidence, advice);
	say_pooler(evidence, advice);
}
