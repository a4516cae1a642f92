/* SPDX-License-Identifier: PostgreSQL */
/*
 * errors.h
 *		Errors of client sessions by SQLSTATE.
 */
#ifndef CPM_ERRORS_H
#define CPM_ERRORS_H

#include "base/stream.h"
#include "datatype/timestamp.h"

/*
 * Places for PostgreSQL's own codes, which never run out, and for codes that users raise, whose
 * number is unlimited. Codes without a place are counted together as "other".
 */
#define CPM_OWN_ERROR_CODES 384
#define CPM_OTHER_ERROR_CODES 64
#define CPM_ERROR_CODES (CPM_OWN_ERROR_CODES + CPM_OTHER_ERROR_CODES)

typedef struct CpmErrorCount
{
	int			sqlstate;		/* as MAKE_SQLSTATE packs it; 0 for the rest */
	uint64		errors;			/* since the last reset */
	TimestampTz last_seen;
} CpmErrorCount;

extern Size cpm_errors_size(void);
extern void cpm_errors_attach(void *memory, bool is_new);

/* Count one. Also without a PGPROC: atomics only, cannot fail. */
extern void cpm_errors_add(int sqlstate, TimestampTz at);

/* Entry index, from 0 to CPM_ERROR_CODES inclusive; errors is 0 for an empty one. */
extern CpmErrorCount cpm_errors_get(int index);

/*
 * Start all counts anew and free the places of user-raised codes. An error raised concurrently
 * may be counted for the code that next claims its place.
 */
extern void cpm_errors_reset(void);

/* Loading is for the postmaster, before anybody else is there. */
extern void cpm_errors_save(CpmSink *sink);
extern bool cpm_errors_load(CpmSource *source);

#endif							/* CPM_ERRORS_H */
