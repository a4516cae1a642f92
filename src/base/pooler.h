/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler.h
 *		The answers of a PgBouncer console, as plain values.
 *
 * Numbers have PgBouncer's own names and units. The lists contain the columns of every version
 * since 1.15; a column that the console's version does not have is CPM_POOLER_NULL.
 */
#ifndef CPM_POOLER_H
#define CPM_POOLER_H

#include "base/pooler_list.h"
#include "datatype/timestamp.h"

#define CPM_POOLER_NULL PG_INT64_MIN
#define CPM_POOLER_TEXT_SIZE 64
#define CPM_POOLER_ERROR_SIZE 256

/* The numbers in SHOW POOLS; cpm_pool_number_names has the same order. */
typedef enum CpmPoolNumber
{
	CPM_CL_ACTIVE,
	CPM_CL_WAITING,
	CPM_CL_CANCEL_REQ,
	CPM_CL_ACTIVE_CANCEL_REQ,
	CPM_CL_WAITING_CANCEL_REQ,
	CPM_SV_ACTIVE,
	CPM_SV_ACTIVE_CANCEL,
	CPM_SV_BEING_CANCELED,
	CPM_SV_IDLE,
	CPM_SV_USED,
	CPM_SV_TESTED,
	CPM_SV_LOGIN,
	CPM_MAXWAIT,				/* seconds */
	CPM_MAXWAIT_US				/* the fraction, in microseconds */
} CpmPoolNumber;

#define CPM_POOL_NUMBERS (CPM_MAXWAIT_US + 1)

/* How many numbers SHOW STATS has: totals and averages, named by cpm_stat_number_names. */
#define CPM_STAT_NUMBERS 24

/* The settings in SHOW CONFIG that limit pools; cpm_pooler_setting_names has the same order. */
typedef enum CpmPoolerSetting
{
	CPM_DEFAULT_POOL_SIZE,
	CPM_MIN_POOL_SIZE,
	CPM_RESERVE_POOL_SIZE,
	CPM_MAX_CLIENT_CONN,
	CPM_MAX_DB_CONNECTIONS,
	CPM_QUERY_WAIT_TIMEOUT,		/* seconds */
	CPM_SERVER_IDLE_TIMEOUT,	/* seconds */
	CPM_SERVER_LIFETIME,		/* seconds */
	CPM_MAX_PREPARED_STATEMENTS
} CpmPoolerSetting;

#define CPM_POOLER_SETTINGS (CPM_MAX_PREPARED_STATEMENTS + 1)

extern const char *const cpm_pool_number_names[CPM_POOL_NUMBERS];
extern const char *const cpm_stat_number_names[CPM_STAT_NUMBERS];
extern const char *const cpm_pooler_setting_names[CPM_POOLER_SETTINGS];

/*
 * A pool in SHOW POOLS. A number of one row is CPM_POOLER_NULL or from 0 to PG_INT32_MAX, so that
 * sums over all rows of all consoles cannot overflow.
 */
typedef struct CpmPoolerPool
{
	char		database[CPM_POOLER_TEXT_SIZE]; /* PgBouncer's name, not the server's */
	char		user[CPM_POOLER_TEXT_SIZE];
	char		pool_mode[16];
	char		load_balance_hosts[16]; /* empty: not set */
	int64		number[CPM_POOL_NUMBERS];
	uint64		listed_since;	/* number of a sample (counters/pool_busy); every answer since
								 * that sample has listed the pool */
	bool		has_series;		/* in /metrics; the others share a series */
} CpmPoolerPool;

/* A row in SHOW STATS. */
typedef struct CpmPoolerStat
{
	char		database[CPM_POOLER_TEXT_SIZE];
	int64		number[CPM_STAT_NUMBERS];
} CpmPoolerStat;

/* A row in SHOW SERVERS: a server connection, which may be one of our sessions. */
typedef struct CpmPoolerServer
{
	int			remote_pid;		/* of the backend */
	bool		is_unix;		/* connected over a Unix socket */
	int			server_port;
	char		server_host[CPM_POOLER_TEXT_SIZE * 2];	/* from SHOW DATABASES; empty: unknown */
	char		client_addr[CPM_POOLER_TEXT_SIZE];	/* PgBouncer's end of the connection */
	int			client_port;
} CpmPoolerServer;

#define CPM_POOLER_ROWS 256		/* rows kept of SHOW POOLS, and of SHOW STATS */

/* The answers of a console in one round. */
typedef struct CpmPoolerAnswer
{
	TimestampTz asked_at;
	int64		asked_us;		/* the same by the monotonic clock; ages use it */
	char		version[32];
	char		pool_mode[16];	/* the default in its configuration */
	int64		setting[CPM_POOLER_SETTINGS];
	int			pools;			/* rows in pool[] */
	int			stats;			/* rows in stat[] */
	int			rows_dropped;	/* pools and databases beyond CPM_POOLER_ROWS, and server
								 * connections beyond 100,000 */
	CpmPoolerPool pool[CPM_POOLER_ROWS];
	CpmPoolerStat stat[CPM_POOLER_ROWS];
} CpmPoolerAnswer;

/* Return the pool with that database and user; NULL if there is none. */
extern CpmPoolerPool *cpm_pooler_pool_named(CpmPoolerAnswer *answer, const char *database,
											const char *user);

/*
 * Append a pool to the answer, which must have room for it. If the answer has a pool with that
 * database and user, instead add the clients and connections to that pool's, and keep the longer
 * wait.
 */
extern void cpm_pooler_add_pool(CpmPoolerAnswer *answer, const CpmPoolerPool *pool);

/* The status of a console. */
typedef struct CpmPoolerState
{
	char		name[CPM_POOLER_NAME_SIZE];
	bool		up;				/* the last round succeeded */
	TimestampTz last_success;	/* when the last successful round began; 0: never */
	int64		last_success_us;	/* the same by the monotonic clock; ages use it */
	char		last_error[CPM_POOLER_ERROR_SIZE];	/* empty while up */
	int64		retry_us;		/* next attempt, by the monotonic clock; 0 while up */
	uint64		polls;			/* successful rounds */
} CpmPoolerState;

#endif							/* CPM_POOLER_H */
