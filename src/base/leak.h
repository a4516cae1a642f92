/* SPDX-License-Identifier: PostgreSQL */
/*
 * leak.h
 *		What is suspected of having been forgotten, and what became of it: plain
 *		values.
 */
#ifndef CPM_LEAK_H
#define CPM_LEAK_H

#include "datatype/timestamp.h"
#include "pg_config_manual.h"

typedef enum CpmLeakKind
{
	CPM_NO_LEAK,
	CPM_LEAK_IDLE_IN_TRANSACTION,
	CPM_LEAK_IDLE,
	CPM_LEAK_PREPARED,
	CPM_LEAK_WAITING_FOR_CLIENT
} CpmLeakKind;

#define CPM_LEAK_KINDS (CPM_LEAK_WAITING_FOR_CLIENT + 1)

/* One that is suspected no longer. */
typedef struct CpmLeakEnd
{
	TimestampTz at;
	CpmLeakKind kind;
	bool		came_back;		/* to work; else its session has ended */
	int			pid;			/* 0: a prepared transaction */
	Oid			database;
	Oid			role;
	char		application_name[NAMEDATALEN];
	int64		held_us;
} CpmLeakEnd;

/* Of one kind, since the last reset. */
typedef struct CpmLeakCounts
{
	uint64		detected;		/* occurrences, each once */
	uint64		released;		/* that came back to work, or were committed or rolled back */
	uint64		ended;			/* whose session ended */
	TimestampTz last_detected;	/* 0: never */
	int64		longest_us;		/* of those that are over */
} CpmLeakCounts;

#endif							/* CPM_LEAK_H */
