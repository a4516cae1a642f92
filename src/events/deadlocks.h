/* SPDX-License-Identifier: PostgreSQL */
/*
 * deadlocks.h
 *		Statements of client sessions that failed because of a deadlock.
 */
#ifndef CPM_DEADLOCKS_H
#define CPM_DEADLOCKS_H

#include "base/ring.h"
#include "base/stream.h"
#include "datatype/timestamp.h"
#include "pg_config_manual.h"

#define CPM_DEADLOCK_DATABASES 100	/* databases with a count of their own */
#define CPM_DEADLOCK_DETAIL_SIZE 1024
#define CPM_DEADLOCK_OTHER "other"	/* names the count that all other databases share */

typedef struct CpmDeadlock
{
	TimestampTz at;
	int			pid;
	Oid			database;
	Oid			role;
	uint64		queryid;		/* 0: unknown */
	char		application_name[NAMEDATALEN];
	char		detail[CPM_DEADLOCK_DETAIL_SIZE];	/* in the encoding of the database; empty if
													 * unknown */
} CpmDeadlock;

extern Size cpm_deadlocks_size(void);
extern void cpm_deadlocks_attach(void *memory, bool is_new);

/*
 * Count and log a deadlock. database_name is the name of its database. Any process; takes no lock,
 * allocates nothing and raises no error.
 */
extern void cpm_deadlocks_add(const CpmDeadlock *deadlock, const char *database_name);

/*
 * Copy the name of the database at an index from 0 to CPM_DEADLOCK_DATABASES inclusive, and return
 * its number of deadlocks since the last reset. The name is meaningless if that is 0, and may be
 * wrong while a process claims the entry. Two entries can have the same name, for example if a
 * database was dropped and created again. Any process; takes no lock.
 */
extern uint64 cpm_deadlocks_get(int index, char *database_name);

/* Call visit(CpmDeadlock, arg) for each logged deadlock, newest first. Any process; no lock. */
extern void cpm_deadlocks_scan(CpmRingVisitor visit, void *arg);

/*
 * Reset the counts, free their entries and hide the log. A deadlock that happens meanwhile may be
 * counted for the database that next claims its entry.
 */
extern void cpm_deadlocks_reset(void);

extern const CpmFilePart cpm_deadlock_counts_part;
extern const CpmFilePart cpm_deadlocks_part;

#endif							/* CPM_DEADLOCKS_H */
