/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler.h
 *		What PgBouncer's console says: plain values.
 *
 * Columns are PgBouncer's own, by name, of all versions from 1.15 on. One that a
 * version does not have is CPM_POOLER_NULL.
 */
#ifndef CPM_POOLER_H
#define CPM_POOLER_H

#include "base/pooler_list.h"
#include "datatype/timestamp.h"

#define CPM_POOLER_NULL PG_INT64_MIN
#define CPM_POOLER_TEXT_SIZE 64
#define CPM_POOLER_ERROR_SIZE 256

/* Numbers of SHOW POOLS; the names are in pooler.c, in this order. */
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
	CPM_MAXWAIT,				/* whole seconds */
	CPM_MAXWAIT_US				/* and the rest of them */
} CpmPoolNumber;

#define CPM_POOL_NUMBERS (CPM_MAXWAIT_US + 1)

/* Numbers of SHOW STATS: totals, then means of the last period. */
#define CPM_STAT_NUMBERS 24

/* Numbers of SHOW CONFIG: settings that say what its pools may do. */
typedef enum CpmPoolerSetting
{
	CPM_DEFAULT_POOL_SIZE,
	CPM_MIN_POOL_SIZE,
	CPM_RESERVE_POOL_SIZE,
	CPM_MAX_CLIENT_CONN,
	CPM_MAX_DB_CONNECTIONS,
	CPM_QUERY_WAIT_TIMEOUT,		/* seconds, and so are those below */
	CPM_SERVER_IDLE_TIMEOUT,
	CPM_SERVER_LIFETIME,
	CPM_MAX_PREPARED_STATEMENTS /* a number */
} CpmPoolerSetting;

#define CPM_POOLER_SETTINGS (CPM_MAX_PREPARED_STATEMENTS + 1)

extern const char *const cpm_pool_number_names[CPM_POOL_NUMBERS];
extern const char *const cpm_stat_number_names[CPM_STAT_NUMBERS];
extern const char *const cpm_pooler_setting_names[CPM_POOLER_SETTINGS];

/* A row of SHOW POOLS. */
typedef struct CpmPoolerPool
{
	char		database[CPM_POOLER_TEXT_SIZE]; /* PgBouncer's name for it */
	char		user[CPM_POOLER_TEXT_SIZE];
	char		pool_mode[16];
	char		load_balance_hosts[16]; /* empty: none */
	int64		number[CPM_POOL_NUMBERS];
} CpmPoolerPool;

/* A row of SHOW STATS. */
typedef struct CpmPoolerStat
{
	char		database[CPM_POOLER_TEXT_SIZE];
	int64		number[CPM_STAT_NUMBERS];
} CpmPoolerStat;

/* A row of SHOW SERVERS that can be a session here. */
typedef struct CpmPoolerServer
{
	int			remote_pid;
	bool		is_unix;
	int			server_port;
	char		server_host[CPM_POOLER_TEXT_SIZE * 2];	/* by SHOW DATABASES; empty: not known */
	char		client_addr[CPM_POOLER_TEXT_SIZE];	/* its own end of the connection */
	int			client_port;
} CpmPoolerServer;

#define CPM_POOLER_ROWS 256		/* of pools, and of databases in stats, that are kept */

/* All that a console said at one moment. */
typedef struct CpmPoolerAnswer
{
	TimestampTz asked_at;
	char		version[32];
	char		pool_mode[16];	/* the general one */
	int64		setting[CPM_POOLER_SETTINGS];
	int			pools;
	int			stats;
	int			rows_dropped;	/* that had no room */
	CpmPoolerPool pool[CPM_POOLER_ROWS];
	CpmPoolerStat stat[CPM_POOLER_ROWS];
} CpmPoolerAnswer;

/* How a console is doing. */
typedef struct CpmPoolerState
{
	char		name[CPM_POOLER_NAME_SIZE];
	bool		up;
	TimestampTz last_success;	/* when the last whole answer was there; 0 never */
	char		last_error[CPM_POOLER_ERROR_SIZE];
	TimestampTz retry_at;		/* 0: it is not being waited for */
	uint64		polls;			/* that were answered */
} CpmPoolerState;

#endif							/* CPM_POOLER_H */
