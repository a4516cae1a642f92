/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_retained.h
 *		State that keeps monotonic counters from decreasing: the counts of
 *		evicted pools by database, and the state of each pool's series.
 *
 * Guarded by the lock of counters/pool_table: hold it exclusively to write, shared to read. The
 * postmaster reads and writes without it while no other process exists.
 */
#ifndef CPM_POOL_RETAINED_H
#define CPM_POOL_RETAINED_H

#include "base/load.h"

/*
 * The first databases that have a pool after a reset have counters of their own until the next
 * reset: up to max_pools, and at most CPM_MAX_DATABASES, because a lookup compares all names under
 * the lock. A further database cannot have its own counters: nothing would retain the counts of
 * its evicted pools, so they would fall.
 */
#define CPM_MAX_DATABASES 256

/* The index and name of the counters that all other databases and unknown ones share */
#define CPM_OTHER_DATABASE 0
#define CPM_SERIES_NO_DATABASE "(other)"

/* Counters of the sessions of a database. */
typedef struct CpmDatabaseCounters
{
	char		name[NAMEDATALEN];
	uint64		queries;
	uint64		failed;
} CpmDatabaseCounters;

/* The state of one pool. Numbers of statements and loads are since the last reset. */
typedef struct CpmRetainedPool
{
	bool		has_series;
	int			database;		/* index of the counters of its database */
	uint64		base_queries;	/* loaded after a crash; not part of any counter */
	uint64		base_failed;
	uint64		hidden_queries; /* statements before the pool got its series */
	uint64		shown_queries;	/* all statements when the series was last read */
	uint64		marked_queries; /* all statements when the current comparison of pools began */
	uint64		marked_sessions;	/* CpmPoolUse.sessions at that time */
	CpmLoad		hidden_load;	/* like hidden_queries */
	CpmLoad		shown_load;		/* like shown_queries */
} CpmRetainedPool;

typedef struct CpmRetained
{
	uint64		transferred;	/* adjusts the series "other": a pool adds its hidden_queries when
								 * its series begins, and subtracts its shown_queries when the
								 * series ends; may be negative, modulo 2^64 */
	CpmLoad		transferred_load;	/* likewise */
	uint64		immediate_series;	/* number of series that began immediately, without waiting
									 * for the end of a period: the first CPM_MAX_POOL_SERIES */
	int			databases;		/* with counters of their own */
	CpmRetainedPool pool[FLEXIBLE_ARRAY_MEMBER];	/* by index of counters/pool_table, followed
													 * by the counters of databases */
} CpmRetained;

extern Size cpm_retained_size(void);
extern void cpm_retained_attach(void *memory, bool is_new);

/* Return the struct in shared memory. */
extern CpmRetained *cpm_retained(void);

/*
 * Return the counters of evicted pools by database, in the struct or in a copy of it. The array
 * begins with the counters of CPM_OTHER_DATABASE; those of the databases that have counters of
 * their own follow.
 */
extern CpmDatabaseCounters *cpm_retained_databases(CpmRetained *retained);

/* Choose the counters of a new pool's database. The caller holds the lock exclusively. */
extern void cpm_retained_add_pool(int index, const char *database);

/*
 * Retain the statement counts of a pool that is about to be evicted into "(other)", and end its
 * series. The caller holds the lock exclusively.
 */
extern void cpm_retained_evict(int index, uint64 queries, uint64 failed);

/*
 * Clear all numbers and databases; pools keep their series. The caller holds the lock exclusively,
 * and must add all pools again.
 */
extern void cpm_retained_reset(void);

/* The state of a pool's series in the statistics file. The fields are as in CpmRetainedPool. */
typedef struct CpmSavedSeries
{
	uint64		has_series;
	uint64		hidden_queries;
	CpmLoad		hidden_load;
} CpmSavedSeries;

/*
 * Restore the saved counters of a database. Load all databases before the first pool. Postmaster
 * only, at startup.
 */
extern void cpm_retained_load_database(const CpmDatabaseCounters *saved);

/*
 * Restore the saved state of a pool, which has "queries" statements and "load". Load the
 * transferred counts first. Postmaster only, at startup.
 */
extern void cpm_retained_load_pool(int index, const CpmSavedSeries *saved, uint64 queries,
								   const CpmLoad *load);

#endif							/* CPM_POOL_RETAINED_H */
