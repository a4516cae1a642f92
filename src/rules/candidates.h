/* SPDX-License-Identifier: PostgreSQL */
/*
 * candidates.h
 *		Detects statements that look like loops over single rows, or like repeated reads
 *		of the same small result.
 */
#ifndef CPM_CANDIDATES_H
#define CPM_CANDIDATES_H

#include "c.h"

/* Statements with fewer calls are never candidates. */
#define CPM_CANDIDATE_CALLS 1000

/* The kind of a statement, from its text. */
typedef enum CpmStatementKind
{
	CPM_STATEMENT_OTHER,		/* a utility statement, or not parsable */
	CPM_STATEMENT_SELECT,
	CPM_STATEMENT_INSERT,
	CPM_STATEMENT_UPDATE,
	CPM_STATEMENT_DELETE,
	CPM_STATEMENT_MERGE
} CpmStatementKind;

/* The numbers of one statement of one role in one database, over all its calls. */
typedef struct CpmStatement
{
	CpmStatementKind kind;
	bool		has_tables;		/* it uses tables other than system catalogs */
	bool		has_parameters; /* pg_stat_statements shows constants as parameters */
	bool		is_pure_read;	/* neither locks nor changes rows, not even in a WITH clause */
	int64		calls;
	int64		rows;
	double		mean_ms;
	double		total_ms;
	int64		blocks;			/* shared buffers that it accessed */
	int64		transactions;	/* of its role and database in the same period; -1 if unknown */
	double		tuples;			/* number of rows in all its tables; -1 if unknown */
	int64		writes;			/* number of rows written to these tables; -1 if unknown */
} CpmStatement;

typedef struct CpmCandidate
{
	double		calls_per_transaction;	/* NaN if unknown */
	bool		is_certain;		/* no other explanation of the numbers is plausible */
	char		evidence[400];
} CpmCandidate;

/* Return the rows per call; 0 without calls. */
static inline double
cpm_rows_per_call(const CpmStatement *statement)
{
	return statement->calls > 0 ? (double) statement->rows / (double) statement->calls : 0;
}

/*
 * Return true, and set the candidate, if the statement looks like a loop over single rows. Pure.
 */
extern bool cpm_evaluate_batch(const CpmStatement *statement, CpmCandidate *candidate);

/*
 * Return true, and set the candidate, if the statement looks like repeated reads of the same
 * small result. Pure.
 */
extern bool cpm_evaluate_cache(const CpmStatement *statement, CpmCandidate *candidate);

#endif							/* CPM_CANDIDATES_H */
