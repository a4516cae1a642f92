/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool.h
 *		A pool: the sessions of one application in one database as one role. Its
 *		name, and what is counted of its sessions: plain values.
 */
#ifndef CPM_POOL_H
#define CPM_POOL_H

#include "base/histogram.h"
#include "base/policy.h"
#include "base/query_counts.h"
#include "base/session_feature.h"
#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "pg_config_manual.h"

#define CPM_OTHER_POOL 0		/* the index of "(other)", which takes the counters of evicted
								 * pools */

/* A key of hash tables: bytes after the end of a name are zero. */
typedef struct CpmPoolName
{
	char		database[NAMEDATALEN];
	char		role[NAMEDATALEN];	/* as logged in */
	char		application_name[NAMEDATALEN];
} CpmPoolName;

/* How the application_name of a session becomes that of its pool. */
typedef enum CpmGrouping
{
	CPM_GROUPING_OFF,			/* as it is */
	CPM_GROUPING_HOST,			/* without the address that PgBouncer appends */
	CPM_GROUPING_NUMBERS		/* and with '*' for each number, hash and random suffix */
} CpmGrouping;

/*
 * Write the name under which an application is counted to pool, which has room for NAMEDATALEN
 * bytes, and zeros after its end. Pure.
 */
extern void cpm_pool_application(char *pool, const char *application_name, CpmGrouping grouping);

/* The role in the database, of whatever application, as a number to compare. */
static inline uint64
cpm_pool_owner(const CpmPoolName *name)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) name,
											offsetof(CpmPoolName, application_name), 0));
}

/*
 * Return the application name, quoted like an SQL identifier where necessary: palloc'd, the
 * argument itself, or a constant if the name is empty.
 */
extern const char *cpm_application_label(const char *application_name);

/* Return a palloc'd "web (shop in shopdb)", each name quoted like an SQL identifier. */
extern char *cpm_pool_label(const CpmPoolName *name);

/* How a session can end, as pg_stat_database tells it. */
typedef enum CpmSessionEnd
{
	CPM_SESSION_CLOSED,			/* by its client, in good order */
	CPM_SESSION_ABANDONED,		/* the client went away */
	CPM_SESSION_FAILED,			/* a fatal error */
	CPM_SESSION_KILLED			/* an administrator, or the server's stop */
} CpmSessionEnd;

#define CPM_SESSION_ENDS (CPM_SESSION_KILLED + 1)

/* A pool as it stands. Counts are since the last reset. */
typedef struct CpmPool
{
	CpmPoolName name;
	uint32		connections;	/* now */
	uint32		peak_connections;
	uint32		peak_busy;		/* the highest that was sampled */
	uint64		opened;			/* sessions that opened here */
	uint64		ended[CPM_SESSION_ENDS];	/* and that ended here, by CpmSessionEnd */
	uint64		session_time_us;	/* of those that have ended */
	uint64		setup_time_us;	/* of those that opened, from the start of the process */
	CpmQueryCounts counts;
	CpmHistogram histogram;		/* of query times */
	uint64		feature[CPM_FEATURES];	/* how often its sessions used each */
	TimestampTz feature_seen[CPM_FEATURES]; /* and when last; 0 never */
	CpmPolicy	policy;			/* of the session that came in last */
} CpmPool;

#endif							/* CPM_POOL_H */
