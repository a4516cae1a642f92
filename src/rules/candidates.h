/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates.h
 *		Which statements look like loops over single rows, and which like repeated
 *		reads of the same small result.
 */
#ifndef CPM_CANDIDATES_H
#define CPM_CANDIDATES_H

#include "c.h"

/* Statements that ran less often are not judged. */
#define CPM_CANDIDATE_CALLS 1000

/* What a statement's text says it does. */
typedef enum CpmStatementKind
{
	CPM_STATEMENT_OTHER,		/* utility statements, and what cannot be parsed */
	CPM_STATEMENT_SELECT,
	CPM_STATEMENT_INSERT,
	CPM_STATEMENT_UPDATE,
	CPM_STATEMENT_DELETE,
	CPM_STATEMENT_MERGE
} CpmStatementKind;

/* One statement of one role in one database, over all its calls. */
typedef struct CpmStatement
{
	CpmStatementKind kind;
	bool		has_tables;		/* of an application, not only of the system */
	bool		has_parameters; /* or constants, which look the same */
	bool		is_pure_read;	/* locks no rows and changes none, also not in a WITH */
	int64		calls;
	int64		rows;
	double		mean_ms;
	double		total_ms;
	int64		blocks;			/* of shared buffers that were looked at */
	int64		transactions;	/* of its role in its database, in the same time; -1 unknown */
	double		tuples;			/* in all its tables together; -1 unknown */
	int64		writes;			/* rows written to them; -1 unknown */
} CpmStatement;

typedef struct CpmCandidate
{
	double		calls_per_transaction;	/* NaN unknown */
	bool		is_certain;		/* the numbers leave no other explanation */
	char		evidence[400];
} CpmCandidate;

/* Rows per call; nothing without a call. */
static inline double
cpm_rows_per_call(const CpmStatement *statement)
{
	return statement->calls > 0 ? (double) statement->rows / (double) statement->calls : 0;
}

/* Does it look like a loop over single rows? The candidate is written if so. Pure. */
extern bool cpm_evaluate_batch(const CpmStatement *statement, CpmCandidate *candidate);

/* Does it look like a read of the same small result, again and again? As above. */
extern bool cpm_evaluate_cache(const CpmStatement *statement, CpmCandidate *candidate);

#endif							/* CPM_CANDIDATES_H */
