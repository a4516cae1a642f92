/* SPDX-License-Identifier: PostgreSQL */
/*
 * leak.h
 *		The kinds of suspected leaks, how each ended, and their counters. Plain values.
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

/* The end of a suspected leak. */
typedef struct CpmLeakEnd
{
	TimestampTz at;				/* when the session resumed work, or a sample found that the leak
								 * had ended; if the server ended, when it last saved */
	CpmLeakKind kind;
	bool		was_released;	/* the session resumed work, or the prepared transaction was
								 * committed or rolled back; false: the session ended */
	int			pid;			/* 0: a prepared transaction */
	Oid			database;
	Oid			role;
	char		application_name[NAMEDATALEN];
	int64		held_us;		/* how long it lasted */
} CpmLeakEnd;

/* The counters of one kind since the last reset. */
typedef struct CpmLeakCounts
{
	uint64		detected;		/* suspected leaks, each counted once */
	uint64		released;		/* the session resumed work, or the transaction was committed or
								 * rolled back */
	uint64		ended;			/* the session ended */
	TimestampTz last_detected;	/* 0: never */
	int64		longest_us;		/* the longest of the leaks released or ended */
} CpmLeakCounts;

#endif							/* CPM_LEAK_H */
