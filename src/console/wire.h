/* SPDX-License-Identifier: PostgreSQL */
/*
 * wire.h
 *		The messages between the worker of PgBouncer and the processes that ask the consoles.
 *
 * They travel over a pair of sockets. For each round the worker sends a CpmRequest, and the
 * process replies with messages: a CpmMessageHeader and a body. Both ends run on one machine
 * and check that they have the same version, so that structs are sent as they are in memory.
 * The worker validates every message, because the process talks to whoever listens there.
 */
#ifndef CPM_WIRE_H
#define CPM_WIRE_H

#include <stdint.h>

/* In PostgreSQL's library directory; its arguments are a console's name and a version. */
#define CPM_CONSOLE_PROGRAM "connpool_monitor_console"

/* In the order in which they are asked; the last one not in every round. */
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

/* Shorter than PIPE_BUF: written whole or not at all. */
typedef struct CpmRequest
{
	uint32_t	questions;		/* how many of CpmQuestion to ask, from the first on */
	uint32_t	seconds;		/* after which the process ends itself */
	char		conninfo[1024]; /* CPM_CONNINFO_SIZE; read with the first request only */
} CpmRequest;

typedef enum CpmMessageType
{
	CPM_MESSAGE_ASKING = 'A',	/* a session is open, and the first question is sent; no body */
	CPM_MESSAGE_TABLE = 'T',	/* the answer to the next question */
	/* the rest have a text as body, without a zero byte, and the process ends */
	CPM_MESSAGE_FAILED = 'F',
	CPM_MESSAGE_PASSWORD = 'P', /* the password was refused, or there is none */
	CPM_MESSAGE_LOST = 'L'		/* the session was open and is lost */
} CpmMessageType;

typedef struct CpmMessageHeader
{
	uint32_t	type;
	uint32_t	length;			/* of the body, in bytes */
} CpmMessageHeader;

/*
 * A table's body begins with this. The names of columns follow, then the values row by row.
 * Each is a length in four bytes, as many bytes and a zero byte. NULL is the length
 * CPM_NULL_LENGTH alone.
 */
typedef struct CpmTableHeader
{
	uint32_t	columns;
	uint32_t	rows;
} CpmTableHeader;

#define CPM_NULL_LENGTH UINT32_MAX

/* Bytes that a console may send in one round: those of a hundred thousand servers. */
#define CPM_MOST_BYTES (32 * 1024 * 1024)

#endif							/* CPM_WIRE_H */
