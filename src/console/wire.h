/* SPDX-License-Identifier: PostgreSQL */
/*
 * wire.h
 *		The messages between the PgBouncer worker and the processes that query the consoles.
 *
 * The worker shares a pair of sockets with each process. In each round it sends a CpmRequest, and
 * the process replies with messages that consist of a CpmMessageHeader and a body. Both send
 * structs as they are in memory, because they run on one machine and the process checks that it
 * has the worker's version. The worker validates every message, because a hostile server at the
 * configured address might take over the process through a bug in libpq.
 */
#ifndef CPM_WIRE_H
#define CPM_WIRE_H

#include <stdint.h>

/* Installed in pkglib_path. Its arguments are the console's name and the extension's version. */
#define CPM_CONSOLE_PROGRAM "connpool_monitor_console"

/* The queries of a round, in this order. Some rounds omit the last one. */
typedef enum CpmQuestion
{
	CPM_ASK_VERSION,
	CPM_ASK_DATABASES,
	CPM_ASK_SERVERS,
	CPM_ASK_POOLS,
	CPM_ASK_STATS,
	CPM_ASK_CONFIG
} CpmQuestion;

#define CPM_QUESTIONS (CPM_ASK_CONFIG + 1)

/* Must fit into the socket's buffer, so that the worker can send it without waiting. */
typedef struct CpmRequest
{
	uint32_t	questions;		/* number of queries to send, from the first on */
	uint32_t	seconds;		/* time after which the process ends itself */
	char		conninfo[1024]; /* CPM_CONNINFO_SIZE; used by the first request only */
} CpmRequest;

typedef enum CpmMessageType
{
	CPM_MESSAGE_ASKING = 'A',	/* the session is open, the first query follows; no body */
	CPM_MESSAGE_TABLE = 'T',	/* the answer to the next query */
	/* the process exits after one of these; the body is an error message without '\0' */
	CPM_MESSAGE_FAILED = 'F',
	CPM_MESSAGE_PASSWORD = 'P', /* the password was rejected, or there is none */
	CPM_MESSAGE_LOST = 'L'		/* the connection was lost after it had been open */
} CpmMessageType;

typedef struct CpmMessageHeader
{
	uint32_t	type;
	uint32_t	length;			/* of the body, in bytes */
} CpmMessageHeader;

/*
 * The start of a table's body. The column names follow, then the values row by row. Each name or
 * value consists of its length in four bytes, that number of bytes and a zero byte. NULL is only
 * the length CPM_NULL_LENGTH.
 */
typedef struct CpmTableHeader
{
	uint32_t	columns;
	uint32_t	rows;
} CpmTableHeader;

#define CPM_NULL_LENGTH UINT32_MAX

/* The most bytes that a console may send in a round; enough for 100,000 server connections. */
#define CPM_MAX_BYTES (32 * 1024 * 1024)

#endif							/* CPM_WIRE_H */
