/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejections.h
 *		Refused connections: how many for which reason, and who the last were.
 */
#ifndef CPM_REJECTIONS_H
#define CPM_REJECTIONS_H

#include "base/rejection.h"
#include "base/ring.h"
#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "pg_config_manual.h"
#include "port/atomics.h"

#define CPM_REJECTION_LOG_ENTRIES 1000

typedef struct CpmRejectionCount
{
	uint64		count;			/* since the last reset */
	TimestampTz last_seen;		/* 0 never, or not since the last reset */
} CpmRejectionCount;

/*
 * A refused connection attempt, with the names that the client claimed. Identical attempts, each
 * within a minute of the previous one, share an entry. events/rejections sets last_at, attempts
 * and first_at.
 */
typedef struct CpmRejected
{
	pg_atomic_uint64 last_at;	/* a TimestampTz, as first_at is */
	pg_atomic_uint64 attempts;
	TimestampTz first_at;
	CpmRejection reason;
	char		database[NAMEDATALEN];
	char		role[NAMEDATALEN];
	char		application_name[NAMEDATALEN];
	SockAddr	client_addr;
} CpmRejected;

extern Size cpm_rejections_size(void);
extern void cpm_rejections_attach(void *memory, bool is_new);

/*
 * Count and remember one, at that moment. Also in a process that has no PGPROC and never will:
 * atomics only, no lock, no allocation, cannot fail.
 */
extern void cpm_rejections_add(const CpmRejected *refused, TimestampTz at);

/* Any process; no lock. Zeros when the library is not preloaded. */
extern CpmRejectionCount cpm_rejections_count(CpmRejection reason);

/* For want of a slot (too_many, reserved), whatever was reset: it never falls. */
extern uint64 cpm_rejections_for_slots(void);
extern TimestampTz cpm_rejections_last_for_slots(void);

/* Visit the log, a CpmRejected each, newest first; those just being written are left out. */
extern void cpm_rejections_log_scan(CpmRingVisitor visit, void *arg);

/* Counts and log start anew from here. */
extern void cpm_rejections_reset(void);

/* Loading is for the postmaster, before anybody else is there. */
extern void cpm_rejections_save(CpmSink *sink);
extern bool cpm_rejections_load(CpmSource *source);

#endif							/* CPM_REJECTIONS_H */
