/* SPDX-License-Identifier: PostgreSQL */
/*
 * errors.h
 *		Errors of client sessions by SQLSTATE.
 */
#ifndef CPM_ERRORS_H
#define CPM_ERRORS_H

#include "base/stream.h"
#include "datatype/timestamp.h"

/* Errors whose code gets no entry are counted together as "other". */
#define CPM_OWN_ERROR_CODES 384 /* entries for PostgreSQL's own codes, enough for all of them */
#define CPM_OTHER_ERROR_CODES 64	/* entries for codes that only users raise */
#define CPM_ERROR_CODES (CPM_OWN_ERROR_CODES + CPM_OTHER_ERROR_CODES)

typedef struct CpmErrorCount
{
	int64		sqlstate;		/* as packed by MAKE_SQLSTATE; 0 for "other" */
	uint64		errors;			/* since the last reset */
	TimestampTz last_seen;		/* 0 for never; a reset does not clear it, so ignore it if errors
								 * is 0 */
} CpmErrorCount;

extern Size cpm_errors_size(void);
extern void cpm_errors_attach(void *memory, bool is_new);

/* Count an error. Works in processes without a PGPROC: takes no lock and raises no error. */
extern void cpm_errors_add(int sqlstate, TimestampTz at);

/*
 * Return the entry at an index from 0 to CPM_ERROR_CODES inclusive. The number of errors in a free
 * entry is 0, unless an error was counted while a reset freed it. Any process; takes no lock.
 */
extern CpmErrorCount cpm_errors_get(int index);

/*
 * Reset all counts and free the entries of user-raised codes. An error raised concurrently may be
 * counted for the code that next claims its entry. Takes no lock.
 */
extern void cpm_errors_reset(void);

/* The counts in the statistics file. */
extern const CpmFilePart cpm_errors_part;

#endif							/* CPM_ERRORS_H */
