/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates.c
 *		Detects statements that look like loops over single rows, or like repeated reads
 *		of the same small result.
 *
 * Only totals over all calls are known, so a loop must be inferred. Many calls per transaction
 * indicate a loop. One call per transaction may be a loop in autocommit mode or independent
 * requests; the totals cannot distinguish these.
 *
 * A read without parameters certainly repeats. One with parameters does, by the pigeonhole
 * principle, if it was called far more often than its tables have rows.
 */
#include "postgres.h"

#include <math.h>

#include "rules/candidates.h"

/* Batching helps if round trips dominate, that is, if calls are fast and handle about one row. */
#define MAX_BATCHABLE_ROWS 1.5	/* mean rows per call */
#define MAX_BATCHABLE_MS 10		/* mean time per call */

/* Calls per transaction: LOOP_CALLS or more indicate a loop, SINGLE_CALLS or fewer do not. */
#define LOOP_CALLS 5
#define SINGLE_CALLS 1.5

/* Caching helps results that are small, read often and seldom changed. */
#define MAX_CACHEABLE_ROWS 100	/* mean rows per call */
#define MIN_READS_OF_EACH_ROW 10
#define MIN_READS_PER_WRITE 10

static bool
is_batchable(const CpmStatement *statement)
{
	return statement->kind != CPM_STATEMENT_OTHER && statement->has_tables &&
		statement->has_parameters && statement->calls >= CPM_CANDIDATE_CALLS &&
		cpm_rows_per_call(statement) <= MAX_BATCHABLE_ROWS &&
		statement->mean_ms < MAX_BATCHABLE_MS;
}

static const char *
describe_ratio(double calls_per_transaction)
{
	if (isnan(calls_per_transaction))
		return "the number of transactions is not known";
	if (calls_per_transaction >= LOOP_CALLS)
		return "in a loop within transactions";
	if (calls_per_transaction > SINGLE_CALLS)
		return "small loops within transactions, or a statement that is simply used more than "
			"once";
	return "about one call or fewer in each transaction, as in a loop in autocommit mode or in "
		"many independent requests";
}

bool
cpm_evaluate_batch(const CpmStatement *statement, CpmCandidate *candidate)
{
	double		ratio = NAN;
	char		ratio_text[64] = "";

	if (!is_batchable(statement))
		return false;
	if (statement->transactions > 0)
	{
		ratio = (double) statement->calls / (double) statement->transactions;
		snprintf(ratio_text, sizeof(ratio_text), "%.1f per transaction of this role: ", ratio);
	}
	candidate->calls_per_transaction = ratio;
	candidate->is_certain = !isnan(ratio) && ratio >= LOOP_CALLS;
	snprintf(candidate->evidence, sizeof(candidate->evidence),
			 INT64_FORMAT " calls of %.1f rows and %.3f ms each, %.0f ms in all; %s%s",
			 statement->calls, cpm_rows_per_call(statement), statement->mean_ms,
			 statement->total_ms, ratio_text, describe_ratio(ratio));
	return true;
}

static bool
is_cacheable(const CpmStatement *statement)
{
	return statement->kind == CPM_STATEMENT_SELECT && statement->is_pure_read &&
		statement->has_tables && statement->blocks > 0 &&
		statement->calls >= CPM_CANDIDATE_CALLS &&
		cpm_rows_per_call(statement) <= MAX_CACHEABLE_ROWS;
}

/* Return true if cached results would soon be outdated; false if the writes are unknown. */
static bool
is_often_written(const CpmStatement *statement)
{
	return statement->writes >= 0 && statement->writes >= statement->calls / MIN_READS_PER_WRITE;
}

/*
 * Return true if the calls must have read the same rows repeatedly. Compares the number of
 * returned rows, too, because calls that find no rows (before the client inserts them, or in empty
 * tables) repeat nothing.
 */
static bool
is_repeated(const CpmStatement *statement)
{
	double		reads = (double) Min(statement->calls, statement->rows);

	return statement->tuples > 0 && statement->writes >= 0 &&
		reads >= MIN_READS_OF_EACH_ROW * statement->tuples;
}

static void
describe_writes(char *text, size_t size, const CpmStatement *statement)
{
	if (statement->writes < 0)
		snprintf(text, size, "the number of writes to its tables is not known");
	else
		snprintf(text, size, "rows written to its tables: " INT64_FORMAT, statement->writes);
}

static void
describe_repetition(char *text, size_t size, const CpmStatement *statement)
{
	if (!statement->has_parameters)
		snprintf(text, size, "no parameters, so every call asks the same question");
	else
		snprintf(text, size, "its tables have %.0f rows in all, so there were %.0f calls for each "
				 "row",
				 statement->tuples, (double) statement->calls / statement->tuples);
}

bool
cpm_evaluate_cache(const CpmStatement *statement, CpmCandidate *candidate)
{
	char		repetition[160];
	char		writes[80];

	if (!is_cacheable(statement) || is_often_written(statement) ||
		(statement->has_parameters && !is_repeated(statement)))
		return false;
	describe_repetition(repetition, sizeof(repetition), statement);
	describe_writes(writes, sizeof(writes), statement);
	candidate->calls_per_transaction = NAN;
	candidate->is_certain = true;
	snprintf(candidate->evidence, sizeof(candidate->evidence),
			 INT64_FORMAT " calls of %.1f rows and %.3f ms each, %.0f ms in all; %s; %s",
			 statement->calls, cpm_rows_per_call(statement), statement->mean_ms,
			 statement->total_ms, repetition, writes);
	return true;
}
