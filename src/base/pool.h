/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool.h
 *		A pool: the sessions of one application, connected as one role to one database.
 *
 * Plain values: a pool's name and the counters of its sessions.
 */
#ifndef CPM_POOL_H
#define CPM_POOL_H

#include "base/policy.h"
#include "base/query_counts.h"
#include "base/session_feature.h"
#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "pg_config_manual.h"

#define CPM_OTHER_POOL 0		/* index of "(other)", which receives the counters of evicted
								 * pools */

/* A key of hash tables, so the bytes after the end of each name must be zero. */
typedef struct CpmPoolName
{
	char		database[NAMEDATALEN];
	char		role[NAMEDATALEN];	/* session_user at login */
	char		application_name[NAMEDATALEN];
} CpmPoolName;

/* How an application_name is mapped to a pool (setting application_grouping). */
typedef enum CpmGrouping
{
	CPM_GROUPING_OFF,			/* unchanged */
	CPM_GROUPING_HOST,			/* without the address that PgBouncer appends */
	CPM_GROUPING_NUMBERS		/* also with '*' for each number, hash and random suffix */
} CpmGrouping;

/*
 * Map an application_name to the application in the name of its pool. "pool" receives NAMEDATALEN
 * bytes, padded with zeros. Pure: reads no setting.
 */
extern void cpm_pool_application(char *pool, const char *application_name, CpmGrouping grouping);

/*
 * Return a hash of the database and the role. All pools of one role in one database have the same
 * policy.
 */
static inline uint64
cpm_policy_key(const CpmPoolName *name)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) name,
											offsetof(CpmPoolName, application_name), 0));
}

/*
 * Return the application name, quoted like an SQL identifier where necessary. The result is
 * palloc'd, the argument itself, or a constant if the name is empty.
 */
extern const char *cpm_application_label(const char *application_name);

/* Return a palloc'd "web (shop in shopdb)", each name quoted like an SQL identifier. */
extern char *cpm_pool_label(const CpmPoolName *name);

/* How a session ended, with the meanings of the columns sessions_... of pg_stat_database. */
typedef enum CpmSessionEnd
{
	CPM_SESSION_CLOSED,			/* the client disconnected normally */
	CPM_SESSION_ABANDONED,		/* the connection to the client was lost */
	CPM_SESSION_FAILED,			/* a fatal error ended it */
	CPM_SESSION_KILLED			/* an administrator or the shutdown of the server ended it */
} CpmSessionEnd;

#define CPM_SESSION_ENDS (CPM_SESSION_KILLED + 1)

/* CpmPool.role_oid, if roles with different OIDs have had the pool's role name; no role's OID */
#define CPM_SEVERAL_ROLES ((Oid) PG_UINT32_MAX)

/* A snapshot of a pool. Counters start at the last reset. */
typedef struct CpmPool
{
	CpmPoolName name;
	uint32		connections;	/* now */
	uint32		peak_connections;
	uint32		peak_busy;		/* the highest number of busy sessions in a sample */
	Oid			role_oid;		/* of its sessions' role; CPM_SEVERAL_ROLES; in "(other)" 0 */
	uint64		opened;			/* sessions that opened in this pool */
	uint64		ended[CPM_SESSION_ENDS];	/* sessions that ended in it, by CpmSessionEnd */
	uint64		session_time_us;	/* total duration of the sessions that have ended */
	uint64		setup_time_us;	/* total time from process start until a session was open */
	CpmQueryCounts counts;
	uint64		feature[CPM_FEATURES];	/* how often its sessions used each CpmFeature */
	TimestampTz feature_seen[CPM_FEATURES]; /* when each was last used; 0: never */
	CpmPolicy	policy;			/* shared by all pools of the role in the database; see
								 * counters/pool_policies */
} CpmPool;

#endif							/* CPM_POOL_H */
