/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates.c
 *		Which statements look like loops over single rows, and which like repeated
 *		reads of the same small result.
 *
 * Numbers over all calls do not show a loop as such. Many calls of a statement
 * in each transaction do; one call for each transaction is a loop in autocommit
 * or as many independent requests, and nothing here can tell which. That a read
 * is repeated is certain when it has no parameters, and by the pigeonhole
 * principle when it has been called far more often than its tables have rows.
 */
#include "postgres.h"

#include <math.h>

#include "rules/candidates.h"

/* A statement for one row, that is quick: what its calls cost is their number. */
#define SINGLE_ROW 1.5
#define QUICK_MS 10

/* So many calls in a transaction are a loop, so few are one each. */
#define LOOP_CALLS 5
#define ONE_CALL 1.5

/* A result that is worth keeping is small, asked for often and seldom changed. */
#define SMALL_RESULT 100
#define READS_OF_EACH_ROW 10
#define READS_PER_WRITE 10

static bool
is_batchable(const CpmStatement *statement)
{
	return statement->kind != CPM_STATEMENT_OTHER && statement->has_tables &&
		statement->has_parameters && statement->calls >= CPM_CANDIDATE_CALLS &&
		cpm_rows_per_call(statement) <= SINGLE_ROW && statement->mean_ms < QUICK_MS;
}

static const char *
meaning_of_ratio(double calls_per_transaction)
{
	if (isnan(calls_per_transaction))
		return "how many transactions these were is not known";
	if (calls_per_transaction >= LOOP_CALLS)
		return "in a loop within transactions";
	if (calls_per_transaction > ONE_CALL)
		return "small loops within transactions, or a statement that is simply used more than once";
	return "on average each call on its own, as in a loop in autocommit or in many independent requests";
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
			 statement->total_ms, ratio_text, meaning_of_ratio(ratio));
	return true;
}

static bool
is_cacheable(const CpmStatement *statement)
{
	return statement->kind == CPM_STATEMENT_SELECT && statement->is_pure_read &&
		statement->has_tables && statement->blocks > 0 &&
		statement->calls >= CPM_CANDIDATE_CALLS &&
		cpm_rows_per_call(statement) <= SMALL_RESULT;
}

/* Would what was kept be good for a while? Unknown is not seldom, but not often either. */
static bool
is_often_written(const CpmStatement *statement)
{
	return statement->writes >= 0 && statement->writes >= statement->calls / READS_PER_WRITE;
}

/*
 * Rows and calls both: a statement that asks for rows that are not there, to
 * insert them, repeats nothing.
 */
static bool
is_repeated(const CpmStatement *statement)
{
	return statement->tuples >= 0 && statement->writes >= 0 &&
		(double) Min(statement->calls, statement->rows) >= READS_OF_EACH_ROW * statement->tuples;
}

static void
describe_writes(char *text, size_t size, const CpmStatement *statement)
{
	if (statement->writes < 0)
		snprintf(text, size, "how often its tables are written is not known");
	else
		snprintf(text, size, "rows written to its tables: " INT64_FORMAT, statement->writes);
}

static void
describe_repetition(char *text, size_t size, const CpmStatement *statement)
{
	if (!statement->has_parameters)
		snprintf(text, size, "without parameters, so the same question every time");
	else if (statement->tuples < 1)
		snprintf(text, size, "its tables are empty");
	else
		snprintf(text, size, "its tables have %.0f rows in all, so each was asked for %.0f times on average",
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
