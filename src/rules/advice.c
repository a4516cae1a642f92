/* SPDX-License-Identifier: PostgreSQL */
/*
 * advice.c
 *		Recommends a pool's size and pooling mode.
 *
 * The recommended size is the 99th percentile of the number of busy connections in samples. A
 * model was rejected, because it would have to predict how transactions arrive in bursts and wait
 * for each other. The reasons compare the mean of the samples with Little's law, and the size with
 * the number of processors and with the slots that all pools share.
 *
 * Transaction mode is recommended if no session of the pool used a feature whose effect outlives
 * a transaction. A single use proves that the pool needs session mode; the absence of uses is
 * only as reliable as the number of observed transactions.
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
	return mode == CPM_MODE_TRANSACTION ? "transaction" :
		mode == CPM_MODE_SESSION ? "session" : NULL;
}

/* Append a reason; does nothing if the list is full. */
static void
CPM_PRINTF(2, 3)
append_reason(CpmPoolAdvice *advice, const char *format,...)
{
	va_list		arguments;

	if (advice->reasons >= CPM_MAX_REASONS)
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
is_enough_evidence(const CpmPoolEvidence *evidence)
{
	return !evidence->is_mixed && evidence->busy.samples >= CPM_ADVICE_SAMPLES &&
		transactions_of(evidence) >= CPM_ADVICE_TRANSACTIONS;
}

/* Return "once" or, formatted in text, for example "3 times". */
static const char *
format_times(uint64 count, char *text, size_t size)
{
	if (count == 1)
		return "once";
	snprintf(text, size, UINT64_FORMAT " times", count);
	return text;
}

/* Choose the mode by the features that sessions used. */
static void
evaluate_features(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	char		used_features[CPM_REASON_SIZE] = "";
	char		count[32];
	size_t		used = 0;

	for (int i = 0; i < CPM_FEATURES; i++)
	{
		if (evidence->pool->feature[i] == 0)
			continue;
		advice->features |= 1U << i;
		if (used < sizeof(used_features))
			used += snprintf(used_features + used, sizeof(used_features) - used, "%s%s (%s)",
							 used > 0 ? ", " : "", feature_names[i],
							 format_times(evidence->pool->feature[i], count, sizeof(count)));
	}
	if (evidence->is_mixed)
		return;
	if (advice->features != 0)
	{
		advice->mode = CPM_MODE_SESSION;
		append_reason(advice, "transaction mode would break features that its sessions used: %s",
					  used_features);
	}
	else if (is_enough_evidence(evidence))
	{
		advice->mode = CPM_MODE_TRANSACTION;
		append_reason(advice, "its sessions used no feature that transaction mode breaks, in "
					  UINT64_FORMAT " transactions",
					  transactions_of(evidence));
	}
}

/* Compare the samples with Little's law: busy connections = transactions per second * duration. */
static void
append_littles_law(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	double		seconds = (double) evidence->busy.observed_tenths / 10;
	double		transactions = (double) transactions_of(evidence);
	double		busy_ms = (double) evidence->pool->counts.of[CPM_BUSY_TIME_US] / 1000;

	append_reason(advice, "%.1f transactions a second of %.1f ms each keep %.1f connections busy "
				  "(Little's law); the mean of the samples is %.1f",
				  transactions / seconds, busy_ms / transactions, busy_ms / 1000 / seconds,
				  cpm_busy_mean(&evidence->busy));
}

static void
append_size(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	const CpmPool *pool = evidence->pool;

	append_reason(advice, "%d connection%s sufficed for 99 %% of the time: the median of busy "
				  "connections is %u, the 95th percentile %u, the 99th %u, the maximum %u",
				  advice->size, advice->size == 1 ? "" : "s", advice->p50, advice->p95,
				  advice->p99, pool->peak_busy);
	if (advice->p99 >= pool->peak_connections && pool->peak_connections > 1)
		append_reason(advice, "at times all of its %u connections were busy: clients may have "
					  "waited, and a larger pool may help",
					  pool->peak_connections);
	else if (pool->peak_connections > (uint32) advice->size)
		append_reason(advice, "it had up to %u connections: %u more than recommended",
					  pool->peak_connections,
					  pool->peak_connections - (uint32) advice->size);
	if (pool->policy.limit[CPM_POOL_MAX] > 0 && pool->policy.limit[CPM_POOL_MAX] < advice->size)
		append_reason(advice, "its pool_max of %d is less than the recommended size",
					  pool->policy.limit[CPM_POOL_MAX]);
	if (advice->mode == CPM_MODE_SESSION)
		append_reason(advice, "in session mode a pooler needs a connection for each connected "
					  "client, not only for busy clients");
}

/* Compare the size with the server's processors and with the slots that all pools share. */
static void
append_bounds(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	int			at_once = 2 * evidence->processors + 1;
	int			wanted = evidence->recommended_total;

	if (evidence->processors > 0 && advice->size > at_once)
		append_reason(advice, "%d processor%s on about %d statements at once (2 * processors + 1): "
					  "further connections help only while others wait for locks, disks or "
					  "their clients",
					  evidence->processors, evidence->processors == 1 ? " works" : "s work",
					  at_once);
	if (wanted > evidence->usable_slots)
		append_reason(advice, "all pools together would need %d of %d usable slots: too many, "
					  "shorten transactions or raise max_connections",
					  wanted, evidence->usable_slots);
	else if (2 * wanted > evidence->usable_slots)
		append_reason(advice, "all pools together would need %d of %d usable slots: not enough "
					  "for a deployment during which old and new instances run at once",
					  wanted, evidence->usable_slots);
	else if (wanted > 0)
		append_reason(advice, "all pools together would need %d of %d usable slots", wanted,
					  evidence->usable_slots);
}

/*
 * Format the settings of a console, for example as ": pool_mode session". Omits settings that the
 * console did not report.
 */
static void
format_settings(const CpmPoolerAnswer *answer, char *text, size_t size)
{
	static const struct
	{
		CpmPoolerSetting setting;
		const char *unit;
	}			shown[] = {
		{CPM_DEFAULT_POOL_SIZE, ""},
		{CPM_MAX_CLIENT_CONN, ""},
		{CPM_QUERY_WAIT_TIMEOUT, " s"},
	};
	size_t		used = 0;

	text[0] = '\0';
	if (answer->pool_mode[0] != '\0')
		used = snprintf(text, size, ": pool_mode %s", answer->pool_mode);
	for (size_t i = 0; i < lengthof(shown) && used < size; i++)
	{
		int64		value = answer->setting[shown[i].setting];

		if (value != CPM_POOLER_NULL)
			used += snprintf(text + used, size - used, "%s %s " INT64_FORMAT "%s",
							 used > 0 ? "," : ":", cpm_pooler_setting_names[shown[i].setting],
							 value, shown[i].unit);
	}
}

/* Compare the settings of the pool's pooler with the recommendation. */
static void
append_pooler(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	const CpmPoolerAnswer *answer = evidence->answer;
	char		settings[CPM_REASON_SIZE];
	int64		pool_size;

	if (evidence->pooler == NULL || answer == NULL)
		return;
	pool_size = answer->setting[CPM_DEFAULT_POOL_SIZE];
	format_settings(answer, settings, sizeof(settings));
	append_reason(advice, "%d of its %u connections come through PgBouncer %s%s",
				  evidence->pooled, evidence->pool->connections, evidence->pooler, settings);
	if (advice->features != 0 && answer->pool_mode[0] != '\0' &&
		strcmp(answer->pool_mode, "session") != 0)
		append_reason(advice, "that mode breaks features that its sessions use: set pool_mode to "
					  "session for its database or user there");
	else if (advice->mode == CPM_MODE_TRANSACTION && strcmp(answer->pool_mode, "session") == 0)
		append_reason(advice, "pool_mode transaction would suffice there, and lets clients share "
					  "connections");
	if (advice->size > 0 && pool_size != CPM_POOLER_NULL && pool_size < advice->size)
		append_reason(advice, "its default_pool_size is " INT64_FORMAT " less than the "
					  "recommended size",
					  (int64) advice->size - pool_size);
}

void
cpm_advise(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice)
{
	memset(advice, 0, sizeof(*advice));
	advice->p50 = cpm_busy_percentile(&evidence->busy, 0.50);
	advice->p95 = cpm_busy_percentile(&evidence->busy, 0.95);
	advice->p99 = cpm_busy_percentile(&evidence->busy, 0.99);
	evaluate_features(evidence, advice);
	if (!is_enough_evidence(evidence))
	{
		if (evidence->is_mixed)
			append_reason(advice, "several applications share this pool: raise max_pools to "
						  "separate them");
		else
			append_reason(advice, "not enough observed for a size: %u of %d samples, "
						  UINT64_FORMAT " of %d transactions",
						  evidence->busy.samples, CPM_ADVICE_SAMPLES, transactions_of(evidence),
						  CPM_ADVICE_TRANSACTIONS);
		append_pooler(evidence, advice);
		return;
	}
	advice->size = Min(Max((int) advice->p99, 1), evidence->usable_slots);
	append_size(evidence, advice);
	append_littles_law(evidence, advice);
	append_bounds(evidence, advice);
	append_pooler(evidence, advice);
}
